"""When events are delivered, and on which scheduler."""
