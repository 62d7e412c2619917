"""Steps of several train ops at once: their weights are rows of one tensor, and one graph works out all gradients."""
