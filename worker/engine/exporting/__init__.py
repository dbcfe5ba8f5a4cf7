"""Models become files: keras, saved_model, tflite in every variant."""
