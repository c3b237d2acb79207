"""MLflow's own API and pages behind our sign-in, our policies and our gates."""
