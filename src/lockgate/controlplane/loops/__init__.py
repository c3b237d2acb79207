"""What the control plane does by itself: rollouts, watching, deliveries."""
