"""Gather the values of a field, from which a feature spec is fitted."""
