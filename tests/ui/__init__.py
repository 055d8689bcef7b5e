"""Tests of the user interfaces, on real toolkits."""
