"""Exported files put to the proof: reloaded, run, compared."""
