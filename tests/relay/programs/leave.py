"""A producer whose process ends, in an orderly way, before its stream does."""

from __future__ import annotations

import sys

import reactivex

from rxllm import relay
from rxllm.events import TextDelta, TokenEvent

if __name__ == "__main__":
    endless: reactivex.Observable[TokenEvent] = reactivex.concat(reactivex.of(TextDelta("a")), reactivex.never())
    relay.publish(endless, sys.argv[2], redis=sys.argv[1], lease=600)
