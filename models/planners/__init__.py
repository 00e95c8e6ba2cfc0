"""Which list is best under a value model? Each planner answers that its own way; any value model fits any planner."""
