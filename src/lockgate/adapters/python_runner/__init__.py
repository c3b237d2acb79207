"""Models that only Python can answer with: their environments, and the processes that run them."""
