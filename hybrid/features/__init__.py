"""Images and recipes in, rows of features out."""
