"""New weights for layers: drawn by a scheme, or taken from another model."""
