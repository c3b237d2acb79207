"""The process that holds one model. It runs on the model's own environment: standard library and NumPy only."""
