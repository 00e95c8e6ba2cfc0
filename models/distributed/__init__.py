"""Run long steps on a Ray cluster; Ray is imported only if asked for."""
