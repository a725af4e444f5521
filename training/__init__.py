"""A compact mixed-precision loop that spends a budget and feeds importance back to the order of the samples."""
