"""Profiles, drift, data quality and model quality."""
