"""Define the options of the service in groups, one file each."""
