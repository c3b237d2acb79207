"""What builds the project; nothing of it is installed with lockgate."""
