"""Define the networks: value models, the generator, and the checkpoints that keep them."""
