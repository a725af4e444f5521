"""Turns public data sets into files in which sample id i is always the same image."""
