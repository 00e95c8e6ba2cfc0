"""Copy what is served from a store into a folder of bundles."""
