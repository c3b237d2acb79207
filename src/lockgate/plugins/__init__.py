"""Where other tools find us by entry points: pytest."""
