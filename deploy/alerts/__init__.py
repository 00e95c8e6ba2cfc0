"""Define the service's alerts once, for Prometheus, for Kubernetes and for the test that makes each fire."""
