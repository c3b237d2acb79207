"""How a release takes traffic, and what makes it stop."""
