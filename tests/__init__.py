"""Tests; they mirror `app` and `worker`."""
