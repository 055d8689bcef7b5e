"""Somebody who stops a stream, in a process of its own."""

from __future__ import annotations

import sys

from rxllm import relay

if __name__ == "__main__":
    relay.cancel(sys.argv[2], redis=sys.argv[1])
