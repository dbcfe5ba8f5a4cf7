"""The packed format: one small file of architecture and weights, and back (docs/packed-format.md)."""
