"""Search for good lists offline under a value model: by beam, by local search, exhaustively."""
