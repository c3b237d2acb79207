"""Rules over evidence, and the reports they give."""
