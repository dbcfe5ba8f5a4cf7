"""The Python client: the same verbs as the HTTP API, typed, with resumption and digest checks."""

from app.client.client import Client
from app.client.problems import ApiProblem, DownloadCorrupt, ServiceUnreachable

__all__ = ["ApiProblem", "Client", "DownloadCorrupt", "ServiceUnreachable"]
