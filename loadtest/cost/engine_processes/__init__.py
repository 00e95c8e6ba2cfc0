"""Compare one process with workers that share an engine, which only sleeps."""
