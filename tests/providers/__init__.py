"""Each wire, against recorded and hand-written streams."""
