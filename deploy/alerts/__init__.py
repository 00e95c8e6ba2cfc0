"""Define the service's alerts once, for Prometheus, Kubernetes and their tests."""
