"""Compare one process with several workers that share an engine, with an engine that sleeps as a GPU would run."""
