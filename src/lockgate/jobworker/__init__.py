"""Long work: jobs under leases, each in a process of its own, and the keeping of the prediction log."""
