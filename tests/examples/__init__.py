"""Tests of the programs in `examples/`, driven as a user drives them."""
