"""What everything is made of: records, registries, trees, specs, settings, errors."""
