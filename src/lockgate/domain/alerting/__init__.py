"""Signals and alerts: one breach, and breaches over time."""
