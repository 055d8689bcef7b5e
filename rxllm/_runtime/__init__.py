"""Threads shared by all streams: thread cache, deadlines, admission of new requests, the reactor, fork."""
