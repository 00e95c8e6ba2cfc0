"""Mine sequences for generators, store them, and join them to their requests."""
