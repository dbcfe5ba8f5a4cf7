"""Rebuilding Keras models without touching the given one."""
