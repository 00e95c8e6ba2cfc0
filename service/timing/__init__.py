"""Decide which requests come in, and by when each must be answered."""
