"""Blobs: files named by the digest of their bytes."""
