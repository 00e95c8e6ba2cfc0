"""What is learned: the feature contract, the datasets, the list value model and the planners under it."""
