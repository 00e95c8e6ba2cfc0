"""Start servers, load them, and judge their answers."""
