"""Mine the sequences that a generator learns from, store them, and join them to their requests."""
