"""Compute the figures of the truth experiment from the lists on disk."""
