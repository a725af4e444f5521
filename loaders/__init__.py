"""Order, gather, augment, feed: from a dataset file to batches on the device, in an order that is a pure function."""
