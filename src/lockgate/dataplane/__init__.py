"""The inference server: a program of its own that answers, watches and logs predictions."""
