"""Measure a running service over HTTP, and show it in a demo."""
