"""What the box asks of the Linux kernel, by its own numbers: standard library only."""
