"""Inject faults into a running service, and judge what its clients saw."""
