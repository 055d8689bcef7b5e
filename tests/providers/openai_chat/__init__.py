"""Tests of openai_chat."""
