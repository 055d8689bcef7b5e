"""Tests of the relay, on a real Redis and with real other processes."""
