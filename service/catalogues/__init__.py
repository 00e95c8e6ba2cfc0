"""Serve catalogues of items: find and check them on disk, and hold the live ones."""
