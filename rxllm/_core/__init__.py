"""From a wire's answer to an Observable: the one subscribe(), retries, the event log, token usage."""
