"""Run models on a thread of their own, in batches, before deadlines."""
