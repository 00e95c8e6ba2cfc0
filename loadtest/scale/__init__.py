"""Plan machines for a demand from measured figures, and simulate one host."""
