"""Check a list file: count what it holds, and warn about what is legal but odd."""
