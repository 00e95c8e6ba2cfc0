"""Let several workers share the engine of one process.

Jobs go there over a Unix socket, and answers come back.
"""
