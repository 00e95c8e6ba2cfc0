"""Load and verify bundles, and keep the live models."""
