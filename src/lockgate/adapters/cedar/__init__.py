"""Access decisions by Cedar policies."""
