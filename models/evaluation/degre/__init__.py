"""Run DeGRe's experiments: planners, valued by judges that most of them never saw."""
