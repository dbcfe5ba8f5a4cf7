"""Reads models and data sets from files; nothing in a file is run."""
