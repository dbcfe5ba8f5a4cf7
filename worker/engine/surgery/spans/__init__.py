"""Spans of layers that can go together: found, tried, bridged, taken out."""
