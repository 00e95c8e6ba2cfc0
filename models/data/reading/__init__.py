"""Read the part files of a source, and check their rows."""
