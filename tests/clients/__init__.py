"""Clients that others' generators make from the OpenAPI document."""
