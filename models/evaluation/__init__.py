"""Compare orders and planners on lists whose outcome is known, for `listwright evaluate`.

``logs.py`` compares orders of logged lists, re-ranked by a running service; ``folds.py`` does so over the test folds of
a log, from its raw file on.
"""
