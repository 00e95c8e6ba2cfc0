"""Generate lists by the rivals of DeGRe and SORT-Gen, trained on the same slates."""
