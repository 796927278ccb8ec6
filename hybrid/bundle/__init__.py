"""A fitted model in, a file that can be loaded without trust out, and back."""
