"""Tables, columns, splits, batches and packaged data sets."""
