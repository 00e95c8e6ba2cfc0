"""Record requests, and show them as metrics and log lines."""
