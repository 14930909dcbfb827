"""Networks that are known by name."""
