"""Implement the subcommands of `listwright` for data, training, mining and evaluation."""
