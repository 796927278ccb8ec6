"""Anything a user calls an image in; uint8 RGB of one size out."""
