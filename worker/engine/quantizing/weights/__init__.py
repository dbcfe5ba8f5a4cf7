"""Weights on a grid: which, how they are rounded, what makes good for it."""
