"""Delta Lake: where predictions are kept for good."""
