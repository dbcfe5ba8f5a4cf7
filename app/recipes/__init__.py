"""Recipes: what may be asked of a model, and whether it fits the model and the data."""
