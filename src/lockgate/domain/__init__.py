"""Floor 1: pure records and rules. No I/O, no clock, no framework, no async."""
