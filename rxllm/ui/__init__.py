"""Streams on the UI thread: one module per toolkit (`qt tk textual asyncio jupyter`), none imported here."""
