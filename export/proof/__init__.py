"""Prove that an exported graph gives the lists of its model's plain reference."""
