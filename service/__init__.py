"""Serve re-ranked lists over HTTP, without ever importing torch."""
