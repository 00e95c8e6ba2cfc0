"""Measure the cost of handing jobs to an engine process, and check every answer."""
