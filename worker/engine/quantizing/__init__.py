"""Weights and activations on few values: grids, ranges, rounding."""
