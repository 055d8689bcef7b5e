"""JSON in an answer: while it is written, element by element, or whole."""
