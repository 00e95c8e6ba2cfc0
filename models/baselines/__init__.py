"""Implement the methods that DeGRe is measured against, each with its paper and simplifications."""
