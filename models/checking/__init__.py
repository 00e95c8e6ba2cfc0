"""Count what a list file holds, and warn about what is legal but odd."""
