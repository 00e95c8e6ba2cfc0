"""Tests of the comparison where list values are known."""
