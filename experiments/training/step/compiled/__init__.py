"""Training steps as one compiled graph each: forward, loss, backward, gate, clipping and optimizer together."""
