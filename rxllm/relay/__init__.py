"""A stream that outlives a connection, and is seen from any process: an append log on Redis Streams.

One process publishes a stream under an id, any other subscribes to it: late, again, from where it
was cut off. The same promises as `broadcast` keeps within a process (one request, one end for all,
whoever comes and whenever), kept through Redis. Needs the extra `relay`, and Redis 5 or newer.

- `publish(stream, id, redis=...)` carries a stream to Redis. It holds a lease: nobody else can
  write under the id, and a producer that dies is noticed.
- `subscribe(id, redis=...)` is the stream as an Observable.
- `cancel(id, redis=...)` stops it from anywhere: the connection to the vendor closes.
- `RedisLog` is the log under these: `read` with ids to go on from, `append`, `close`, `state`.
"""

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
