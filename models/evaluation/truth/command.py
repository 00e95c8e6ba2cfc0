"""Compare all methods of both papers in a declared world, from its logs to the tables.

Each step is done once, and an interrupted run goes on where it was. A step that fails is reported, and all that does
not need it goes on.
"""
