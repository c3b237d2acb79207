"""The web pages: Dash over the platform's own REST API."""
