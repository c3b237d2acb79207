"""What people work on when something breaks, and what they learn from it."""
