"""Tests of openai_responses."""
