"""Ways out of an Observable: plain iterators, asyncio, and named streams that outlive whoever watches them."""
