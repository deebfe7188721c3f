"""One step of training, and one row through a fitted model, with all their numbers."""
