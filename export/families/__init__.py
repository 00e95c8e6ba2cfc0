"""Describe each family of models to export: its graph, its plain reference and its defaults."""
