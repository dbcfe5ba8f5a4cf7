"""The HTTP API: the only room that knows HTTP. One file a resource."""
