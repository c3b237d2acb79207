"""Floor 3: one verb a file. Reading the list of names tells what the platform does."""
