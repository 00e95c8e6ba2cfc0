"""Serve the pages that people look at: the entrance, the documentation, the playground."""
