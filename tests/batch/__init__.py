"""Tests of batches: the core without Ray, and all of it on a real local one."""
