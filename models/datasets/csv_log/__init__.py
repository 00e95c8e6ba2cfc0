"""Turn a user's own log, one CSV row per request and item, into a list file of any size."""
