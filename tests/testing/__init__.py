"""Tests of rxllm.testing."""
