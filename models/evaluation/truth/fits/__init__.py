"""Train what the methods of the tables plan with, on the logs of a world."""
