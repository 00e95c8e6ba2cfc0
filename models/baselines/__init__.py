"""Implement methods that the papers compare with, each with its paper and simplifications."""
