"""The `rxllm` command."""
