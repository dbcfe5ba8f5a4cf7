"""What a Keras model is made of: its layers, weights, losses and shapes, by closed lists."""
