"""Value lists or items by the evaluators that DeGRe is compared with."""
