"""A bundle in; a page and an HTTP interface that predict what is in an image, on this machine, out."""
