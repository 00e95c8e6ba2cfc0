"""From a checkpoint to a bundle that a service loads, and the proof that both give the same lists."""
