"""TensorFlow 1's rules: the flavors `tf1`, and the optimizers that only TensorFlow has."""
