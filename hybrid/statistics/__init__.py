"""Arithmetic on scores, labels and features; nothing here knows a network."""
