"""Decide who may use the service: named keys, their limits, and attempts with wrong ones."""
