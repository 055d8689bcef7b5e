"""Streams that any process can follow, resume and cancel: an append log on Redis Streams.

One process publishes a stream under an id. Any other subscribes to it: late, again, or from where it was cut off. As
with `broadcast` in one process, there is one request, and every subscriber receives the same end. Needs the extra
`relay`, and Redis 5 or newer, or Valkey.

- `publish(stream, id, redis=...)` writes a stream to Redis under a lease: no other producer can write under the id, and
  readers notice when the producer dies.
- `subscribe(id, redis=...)` returns the stream as an Observable.
- `cancel(id, redis=...)` cancels it from any process: the connection to the vendor closes.
- `RedisLog` is the log itself: `read` with ids to continue after, `append`, `close`, `state`.
"""

from .._lazy_imports import needed

needed("redis", "rxllm.relay", "rxllm[relay]")  # before the modules below import it

from ._writer import PublishOptions
from .errors import ProducerLostError, StreamGoneError, StreamTakenError
from .log import RedisLog
from .publishing import Publication, cancel, publish, subscribe

__all__ = [
    "ProducerLostError",
    "Publication",
    "PublishOptions",
    "RedisLog",
    "StreamGoneError",
    "StreamTakenError",
    "cancel",
    "publish",
    "subscribe",
]
