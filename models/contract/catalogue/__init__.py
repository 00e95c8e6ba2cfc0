"""Keep what is known of items in a folder of memory-mapped arrays, and look them up by id."""
