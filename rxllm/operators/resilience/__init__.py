"""What to do when a stream fails, and limits that streams share."""
