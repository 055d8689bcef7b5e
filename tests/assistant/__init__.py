"""Tests of rxllm.assistant."""
