"""Plan lists in plain code: slow, obviously right; the graphs are held to it."""
