"""From values that tensors take to ranges and levels: on arrays, and over models."""
