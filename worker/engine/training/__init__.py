"""One training loop for every technique, and how well a model does."""
