"""Labelled images: from folders, tables and the built-in sample."""
