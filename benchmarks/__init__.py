"""What rxllm costs, beside hand-written floors and the peers that are installed: `python -m benchmarks`."""
