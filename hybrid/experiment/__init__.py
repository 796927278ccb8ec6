"""Labelled images and a config in; a fitted model with honest scores out."""
