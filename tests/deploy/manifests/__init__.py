"""The manifests for Kubernetes: rendered by Kustomize, held to schemas, and to what the service really does."""
