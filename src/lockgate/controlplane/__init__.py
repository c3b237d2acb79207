"""Floor 4: the program that people and gateways talk to: API, pages, loops and the way to MLflow."""
