"""Models, their versions, and the package that each version is."""
