"""Run DeGRe's experiments: planners for 12 → 6 requests, valued by judges that most of them never saw."""
