"""The stock MLflow server and its client."""
