"""What is known of a started broker, kept in a file so that a later process can find it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from streamapp.broker.container import Container
from streamapp.broker.errors import BrokerError
from streamapp.broker.kinds import BrokerKind
from streamapp.broker.network import LOOPBACK
from streamapp.broker.process import Process

FILE_NAME = "state.json"


class BrokerState(BaseModel):
    """A broker as it was started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: BrokerKind
    version: str
    port: int
    data_dir: Path
    runs_as: Process | Container

    @property
    def bootstrap_servers(self) -> str:
        """The address clients connect to."""
        return f"{LOOPBACK}:{self.port}"


def load(directory: Path) -> BrokerState | None:
    """The broker last started in `directory` and not stopped, if any."""
    path = directory / FILE_NAME
    try:
        return BrokerState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BrokerError(
            f"{path} is not readable: end the broker it tells of, then delete the file"
        ) from error


def save(directory: Path, state: BrokerState) -> None:
    """Write the state so that a reader sees the old or the new one, never half."""
    unfinished = directory / f"{FILE_NAME}.new"
    unfinished.write_text(state.model_dump_json(indent=2) + "\n")
    unfinished.replace(directory / FILE_NAME)


def clear(directory: Path) -> None:
    """Forget the broker."""
    (directory / FILE_NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold `directory` against another start or stop. Raises BrokerError if one is at work."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerError(
                f"another start or stop is at work in {directory}: wait for it, then try again"
            ) from error
        yield
