"""Define the contract of training and serving: all that the service may import of `models`.

`spec` and `features` say which fields there are and encode them; `manifest` and `verdict` are a bundle's description;
`formulas`, `partition` and `slots` lead from a request to the slots of the graph; `serving` holds the request path and
the session options. Nothing here imports more than NumPy.
"""
