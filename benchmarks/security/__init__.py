"""What the box and the watch around jobs cost, and what they keep off."""
