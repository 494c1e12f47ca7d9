"""From faces to a detector: network, data, training loop, checkpoint."""
