"""The HTTP service: it loads bundles and answers `POST /v1/rerank`. It never imports torch."""
