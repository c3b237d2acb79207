"""Long work: which kinds there are, how they are tried again, and what comes by the calendar."""
