"""What to do with a budget on data of one's own: short pilots, curves through them, and a recommendation."""
