"""Checks that a model's author writes as pytest tests: run beside the model's own code, and by the server in a cage."""
