"""A bundle's bytes: its files, and the manifest that lists them."""
