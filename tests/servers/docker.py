"""Whether a Docker engine answers here."""

import functools

from streamapp.broker.container import docker_client
from streamapp.broker.errors import BrokerError


@functools.cache
def docker_answers() -> bool:
    """Asked once: an engine that comes later is of no use to a run under way."""
    try:
        docker_client()
    except BrokerError:
        return False
    return True
