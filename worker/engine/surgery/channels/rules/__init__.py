"""What each kind of layer does to channels."""
