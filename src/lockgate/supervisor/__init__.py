"""What `lockgate up` is: one process that starts, watches and stops all the others. Standard library only."""
