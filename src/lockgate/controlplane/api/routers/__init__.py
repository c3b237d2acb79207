"""One file for each part of the API; each offers a `router`."""
