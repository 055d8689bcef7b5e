"""Tests of gemini."""
