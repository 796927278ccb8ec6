"""The kinds of networks, a file each; what each expects and gives stands in its record."""
