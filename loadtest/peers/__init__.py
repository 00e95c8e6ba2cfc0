"""Compare Listwright with the servers that a user would pick instead: one bundle, one request, one pre-processing."""
