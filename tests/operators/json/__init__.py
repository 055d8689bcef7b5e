"""Tests of json."""
