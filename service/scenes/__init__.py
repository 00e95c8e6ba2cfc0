"""Hold named settings of requests, which a file in the bundles folder gives."""
