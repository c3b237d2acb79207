"""Looks through the files of a package as if a stranger had packed it, and runs nothing of them."""
