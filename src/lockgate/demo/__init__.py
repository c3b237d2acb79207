"""What `lockgate demo` tells its story with: a real table of thyroid records and small models trained on it."""
