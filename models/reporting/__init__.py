"""Say what an experiment found, as one page for reading: `listwright report`."""
