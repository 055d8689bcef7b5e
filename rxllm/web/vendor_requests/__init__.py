"""Requests of the vendors' APIs, read once into this package's messages and options. No I/O."""
