"""Compare methods, augmentations and budgets: a grid of runs that may be stopped at any time, and its evaluation."""
