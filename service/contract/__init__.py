"""Define the requests and responses, check them, and describe them in OpenAPI."""
