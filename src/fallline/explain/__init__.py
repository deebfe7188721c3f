"""Pictures of what was computed and learned; the home of matplotlib."""
