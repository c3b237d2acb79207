"""Floor 0: the words everybody shares."""
