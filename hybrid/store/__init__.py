"""The feature store: one SQLite file for all processes."""
