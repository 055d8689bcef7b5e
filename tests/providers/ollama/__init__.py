"""Tests of ollama."""
