"""Compare all methods of both papers where list values are known: `listwright evaluate truth`."""
