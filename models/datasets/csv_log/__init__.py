"""Turn a user's own log in CSV into a list file, at any size."""
