"""Secrets that lie in files which only the platform can read."""
