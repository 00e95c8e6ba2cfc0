"""Keep the rules of a list, with one meaning online, offline and in graphs."""
