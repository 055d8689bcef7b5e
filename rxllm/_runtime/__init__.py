"""Threads shared by all streams (thread cache, deadlines, admission of new requests, reactor), and `platform`."""
