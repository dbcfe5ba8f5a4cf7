"""The one-command stack: a private broker, the API and a worker under one supervisor."""
