"""Re-rank the lists of a file by a service, many at a time."""
