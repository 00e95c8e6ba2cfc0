"""Compare Listwright with other servers: one bundle, one request, one pre-processing."""
