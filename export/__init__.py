"""Write a bundle from a checkpoint, and prove that both give the same lists."""
