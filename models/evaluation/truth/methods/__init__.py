"""Plan the lists of the tables' rows, each method in terms of what was trained."""
