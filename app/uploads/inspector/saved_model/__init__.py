"""Reads SavedModels that strangers sent, without TensorFlow: bytes against lists of what may be.

`wire` and `messages` read protocol buffers, `graph` makes plain values of them, `rules` and its
siblings hold them against what is allowed, `table` and `variables` read the weights, and `file`
puts it all together.
"""
