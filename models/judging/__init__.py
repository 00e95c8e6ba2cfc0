"""Judge models on held-out lists: shares, orders, likelihood, and a verdict."""
