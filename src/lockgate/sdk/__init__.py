"""Floor 4: what a notebook or a program imports."""
