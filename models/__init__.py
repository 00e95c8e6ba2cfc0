"""Hold the learned half: feature contract, datasets, list value models, planners, training."""
