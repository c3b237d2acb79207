"""People, machines, what they hold and what they may do."""
