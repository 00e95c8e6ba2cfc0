"""Read CSV in the forms that tools write."""
