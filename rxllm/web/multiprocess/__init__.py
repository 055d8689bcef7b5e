"""One server as several processes that share streams through Redis."""
