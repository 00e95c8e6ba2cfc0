"""Keep what is known of items in memory-mapped arrays, and look them up by id."""
