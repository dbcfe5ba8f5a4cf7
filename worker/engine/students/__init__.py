"""Models that learn from others: made of the model, or uploaded and put in its place."""
