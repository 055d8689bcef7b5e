"""Ollama /api/chat."""
