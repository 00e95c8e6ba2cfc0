"""Make each alert fire once against a live service and a real Prometheus."""
