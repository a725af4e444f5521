"""The methods that choose within a batch, after the scheduler has drawn it."""
