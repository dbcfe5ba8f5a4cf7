"""TensorFlow Lite files: tensors, operators, and in which order they run."""
