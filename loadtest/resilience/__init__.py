"""Overload, reload and stop a service under load."""
