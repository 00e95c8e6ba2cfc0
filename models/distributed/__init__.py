"""Mine, train and evaluate on a Ray cluster; Ray is imported only if asked for."""
