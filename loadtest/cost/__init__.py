"""Measure the cost of a request: the share of the service, and growth with sizes."""
