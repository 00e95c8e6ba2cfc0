"""Time the engine alone, on bundles and graphs with random weights."""
