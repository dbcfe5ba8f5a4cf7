"""Choosing what structured pruning takes out: how much each unit matters, and how many may stay."""
