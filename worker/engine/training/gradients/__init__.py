"""Gradients in few bits: rounding, bytes, the optimizer around another, and replicas."""
