"""Hold a frozen model to lists shown in random order: `listwright evaluate randomised`.

A ranker's log shows an item where its score put it, so it cannot tell the item's part from the place's. Where the order
was drawn at random it can: `estimators.py` says how, `coverage.py` whether its intervals hold where truth is known.
"""
