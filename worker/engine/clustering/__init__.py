"""Weights that share values: which values, and how they are trained."""
