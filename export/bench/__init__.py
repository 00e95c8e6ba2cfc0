"""Time the graphs of both families, and write bundles with random weights for measuring."""
