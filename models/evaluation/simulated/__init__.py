"""Compare planners and value models on simulated lists: `listwright evaluate simulator`."""
