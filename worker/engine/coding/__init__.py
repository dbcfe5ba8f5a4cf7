"""The packed format: architecture and weights in one small file, and back."""
