"""The file beside a model's code, read with every problem told at once."""
