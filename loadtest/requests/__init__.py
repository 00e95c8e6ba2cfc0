"""Make requests for a bundle, and check the lists that answer them."""
