"""Tests of the web: real servers, real clients, a real browser."""
