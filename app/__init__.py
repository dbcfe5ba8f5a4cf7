"""The front end: what may be asked, what was asked, what came out. Never imports TensorFlow."""
