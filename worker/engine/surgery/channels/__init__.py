"""Which channels of a model go together, and taking them out."""
