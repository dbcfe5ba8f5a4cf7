"""The door: files come in, are looked at by a child process, and become models and data sets."""
