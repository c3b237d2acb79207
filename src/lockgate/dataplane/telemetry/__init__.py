"""What a gateway tells of itself to those who watch it: metrics, traces, and a line a request."""
