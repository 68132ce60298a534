"""The HTTP API from Python: `Client` and what it answers."""

from streamapp.client.client import ApiError, Client, Pending

__all__ = ["ApiError", "Client", "Pending"]
