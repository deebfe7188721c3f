"""Pictures of slopes, losses, boundaries and histories; the home of matplotlib."""
