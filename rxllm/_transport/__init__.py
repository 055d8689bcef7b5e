"""HTTP: connections that can be aborted, bodies read as they arrive, framing, and vendors' error answers."""
