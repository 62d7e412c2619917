"""The train op: one step of training, and what it is made of."""
