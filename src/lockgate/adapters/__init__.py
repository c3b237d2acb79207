"""Floor 3: one folder for each outside system; none knows another, and none knows the workflows."""
