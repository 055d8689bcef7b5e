"""The tests of rxllm."""
