"""Listwright beside what a user would pick instead: one bundle, one request, one pre-processing, several servers."""
