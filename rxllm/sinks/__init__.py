"""Conversions of an Observable: plain iterators, asyncio, and shared streams that continue without subscribers."""
