"""What an experiment found, as one page to look at."""
