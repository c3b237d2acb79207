"""Bytes by their content address."""
