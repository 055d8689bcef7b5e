"""The text of an answer: pieces, units, filters."""
