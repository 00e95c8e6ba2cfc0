"""Run mining and training on the machines of a Ray cluster; Ray is imported only when asked for."""
