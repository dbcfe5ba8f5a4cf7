"""The dashboard: what a person sees of the service. Pages without scripts, made from templates."""
