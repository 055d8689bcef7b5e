"""Tests of the ways out of a stream."""
