"""The back end: Celery and the engine."""
