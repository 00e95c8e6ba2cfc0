"""Score the candidates of a list, one by one or together, from logs."""
