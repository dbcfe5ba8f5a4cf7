"""What the configuration of a Keras model says, read without Keras."""
