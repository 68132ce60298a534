"""A broker on this machine: started, found again, stopped, killed and brought back."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from streamapp.broker import state as states
from streamapp.broker.errors import BrokerError
from streamapp.broker.kafka import Kafka
from streamapp.broker.kinds import BrokerKind, Server
from streamapp.broker.network import answers_metadata, free_port, is_port_free
from streamapp.broker.noida import Noida
from streamapp.broker.redpanda import Redpanda
from streamapp.broker.state import BrokerState
from streamapp.broker.waiting import wait_until

SERVERS: dict[BrokerKind, type[Server]] = {
    BrokerKind.NOIDA: Noida,
    BrokerKind.KAFKA: Kafka,
    BrokerKind.REDPANDA: Redpanda,
}
STOP_TIMEOUT_S = 30.0
"""For SIGTERM. noida-db writes all it holds: 0.9 s for 100,000 records of 290 bytes."""
KILL_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 5.0


class LocalBroker:
    """A broker started in `directory`, which holds its state, log and data.

    Leaving it as a context manager stops it; a directory of its own making goes with it.
    """

    def __init__(self, directory: Path, state: BrokerState, *, was_running: bool) -> None:
        self.directory = directory
        self.state = state
        self.was_running = was_running
        self._is_temporary = False

    @classmethod
    def start(
        cls, kind: str = BrokerKind.NOIDA, port: int = 0, directory: Path | None = None
    ) -> Self:
        """Start a broker and wait until it answers; port 0 is any free one.

        Without a directory, a temporary one. If the same kind already runs in the directory,
        on this port, that one is returned with `was_running` set.
        Raises BrokerError: it names what is missing, taken or in the way.
        """
        place = directory or Path(tempfile.mkdtemp(prefix="streamapp-broker-"))
        try:
            with states.exclusive(place):
                broker = cls._start_in(place.resolve(), BrokerKind(kind), port)
        except BaseException:
            if directory is None:
                shutil.rmtree(place, ignore_errors=True)
            raise
        broker._is_temporary = directory is None
        return broker

    @classmethod
    def _start_in(cls, directory: Path, kind: BrokerKind, port: int) -> Self:
        found = cls.find(directory)
        if found is None or not found.is_alive():
            return cls(directory, _launch(directory, kind, port), was_running=False)
        if found.kind != kind or port not in (0, found.state.port):
            raise BrokerError(
                f"a {found.kind} broker already runs here at {found.bootstrap_servers}: "
                "stop it first with `streamapp broker stop`, or choose another --dir"
            )
        if not found.answers():
            raise BrokerError(
                f"the {kind} broker at {found.bootstrap_servers} runs but does not answer: "
                f"see {_log(directory, kind)}, or run `streamapp broker stop`"
            )
        return found

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The broker last started in `directory` and not stopped, running or not."""
        state = states.load(directory.resolve())
        return cls(directory.resolve(), state, was_running=True) if state else None

    @property
    def bootstrap_servers(self) -> str:
        """The address clients connect to."""
        return self.state.bootstrap_servers

    @property
    def kind(self) -> BrokerKind:
        """Which broker it is."""
        return self.state.kind

    @property
    def version(self) -> str:
        """The version of the broker."""
        return self.state.version

    @property
    def acks_survive_kill(self) -> bool:
        """Whether a record is there after `kill` from the moment it was acknowledged."""
        return SERVERS[self.kind].acks_survive_kill

    def is_alive(self) -> bool:
        """Whether its process or container is there."""
        return self.state.runs_as.is_alive()

    def answers(self) -> bool:
        """Whether it answers a metadata request in time."""
        return answers_metadata(self.bootstrap_servers, ANSWER_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a crash would; its data stays for `restart`."""
        _kill(self.state)

    def restart(self) -> None:
        """Stop it if it runs, then start it on the same port and data."""
        with states.exclusive(self.directory):
            _end(self.state)
            self.state = _launch(self.directory, self.kind, self.state.port)

    def stop(self) -> None:
        """End it orderly, by force after a deadline; its data stays unless it was temporary."""
        with states.exclusive(self.directory):
            _end(self.state)
            states.clear(self.directory)
        if self._is_temporary:
            SERVERS[self.kind]().discard(self.state.data_dir)
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _launch(directory: Path, kind: BrokerKind, port: int) -> BrokerState:
    """Start the server and wait until it answers; what does not answer in time is ended."""
    port = port or free_port()
    if not is_port_free(port):
        raise BrokerError(
            f"port {port} is taken by another program: choose another with --port, 0 for a free one"
        )
    server = SERVERS[kind]()
    data_dir = directory / kind
    data_dir.mkdir(parents=True, exist_ok=True)
    state = BrokerState(
        kind=kind,
        version=server.version(),
        port=port,
        data_dir=data_dir,
        runs_as=server.start(port, data_dir, _log(directory, kind)),
    )
    states.save(directory, state)
    try:
        _await_ready(state, server.start_timeout_s, _log(directory, kind))
        server.configure(state.bootstrap_servers)
    except BaseException:
        _kill(state)
        states.clear(directory)
        raise
    return state


def _await_ready(state: BrokerState, timeout_s: float, log: Path) -> None:
    def is_settled() -> bool:
        return answers_metadata(state.bootstrap_servers, 1.0) or not state.runs_as.is_alive()

    if not wait_until(is_settled, timeout_s):
        raise BrokerError(f"the {state.kind} broker did not answer in {timeout_s:.0f} s: see {log}")
    if not state.runs_as.is_alive():
        told = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BrokerError(f"the {state.kind} broker ended at once: {told[-1]} (all of it in {log})")


def _end(state: BrokerState) -> None:
    """SIGTERM, and SIGKILL to what is still there at the deadline."""
    state.runs_as.terminate()
    if not wait_until(lambda: not state.runs_as.is_alive(), STOP_TIMEOUT_S):
        _kill(state)


def _kill(state: BrokerState) -> None:
    state.runs_as.kill()
    if not wait_until(lambda: not state.runs_as.is_alive(), KILL_TIMEOUT_S):
        raise BrokerError(
            f"the {state.kind} broker is still there {KILL_TIMEOUT_S:.0f} s after SIGKILL"
        )


def _log(directory: Path, kind: BrokerKind) -> Path:
    return directory / f"{kind}.log"
