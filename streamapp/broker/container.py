"""A server in a container, where a Docker engine answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from streamapp.broker.errors import BrokerError


class Container(BaseModel):
    """A container that Docker removes when it ends; its data is in a named volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    container: str

    def is_alive(self) -> bool:
        """Whether Docker says that it runs."""
        found = docker_client().containers.list(filters={"id": self.container})
        return any(one.status == "running" for one in found)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._signal("SIGTERM")

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        for one in docker_client().containers.list(filters={"id": self.container}):
            one.kill(signal=name)


def docker_client() -> Any:
    """The client of a Docker engine that answers. Raises BrokerError if none does."""
    try:
        from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BrokerError(
            "testcontainers is not installed: run `pip install testcontainers`"
        ) from error
    try:
        client = DockerClient().client
        client.ping()
    except Exception as error:  # docker-py lets several libraries' errors through
        raise BrokerError(
            "no Docker engine answers: start Docker, or choose --kind kafka or noida"
        ) from error
    return client
