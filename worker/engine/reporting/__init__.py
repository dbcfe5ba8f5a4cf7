"""From what was measured to the report: figures, weights, warnings, verdict, provenance."""
