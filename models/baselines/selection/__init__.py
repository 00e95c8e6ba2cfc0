"""Select a list by fixed rules from scores of items: diversity, tuned formulas."""
