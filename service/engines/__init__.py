"""Let several workers share the engine of one process: jobs go there over a Unix socket, and answers come back."""
