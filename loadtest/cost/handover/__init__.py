"""Measure what it costs to hand jobs to an engine process, and that none is lost or swapped, also under kills."""
