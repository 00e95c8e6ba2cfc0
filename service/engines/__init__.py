"""Let several workers share the models of one process, over Unix sockets."""
