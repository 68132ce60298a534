"""The stand a worker is measured on: broker, topics, workers, readers and generators as processes.

with Stand.started("kafka", directory) as stand, stand.session(name, readers) as session:
    session.warm_up()
    sent, used = session.send(rate=1_000, seconds=10)
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import BATCH_ROWS, Crowd
from benchmarks.processes import unwind_on_sigterm
from benchmarks.reader import Isolation
from benchmarks.recording import record
from benchmarks.session import WARM_UP_ROWS, Session
from streamapp.broker.local import LocalBroker
from streamapp.broker.process import Process

#: The stand that several benchmarks share, see `Stand.shared`.
_shared: list["Stand"] = []
_numbers = itertools.count(1)

#: With many small transactions, then under load: the JVM's compiler took half a core for the first
#: half minute of transactions.
BROKER_WARM_UP_S = (20.0, 12.0)
_WARM_UP_RATE = 2_000.0
_WARM_UP_INTERVAL_MS = "5"


@dataclass(frozen=True, slots=True)
class Stand:
    """A broker of its own and a directory for what the runs leave."""

    bootstrap_servers: str
    broker: dict[str, str]
    broker_process: Process
    broker_data: Path
    directory: Path
    partitions: int = 4
    recordings: dict[Crowd, tuple[int, Path]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def started(cls, kind: str, directory: Path, partitions: int = 4) -> Iterator["Stand"]:
        """A stand whose broker runs until the end of the block, or until SIGTERM.

        The shared one, in the directory, where there is one.
        """
        if _shared:
            yield replace(_shared[-1], directory=directory, recordings={})
            return
        unwind_on_sigterm()
        with LocalBroker.start(kind) as server:
            process = server.state.runs_as
            if not isinstance(process, Process):
                raise BenchmarkError(f"a {kind} broker's CPU time can't be read: it is a container")
            named = {"kind": str(server.kind), "version": server.version}
            data = server.state.data_dir
            stand = cls(server.bootstrap_servers, named, process, data, directory, partitions)
            stand.warm_up()
            yield stand

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Have every stand that is asked for in the block be this one."""
        _shared.append(self)
        try:
            yield
        finally:
            _shared.pop()

    def warm_up(self) -> None:
        """Keep the broker busy for a while: a JVM compiles what is called often."""
        paced_s, loaded_s = BROKER_WARM_UP_S
        rows = int(loaded_s * 50_000)
        with self.session(
            "warm-up",
            crowd=Crowd(users=1_000),
            rows_max=rows + int(paced_s * _WARM_UP_RATE) + BATCH_ROWS,
            settings={"checkpoint_interval_ms": _WARM_UP_INTERVAL_MS},
        ) as session:
            session.send(rate=_WARM_UP_RATE, seconds=paced_s)
            session.send(seconds=loaded_s, rows=rows)

    def recording(self, crowd: Crowd, rows: int) -> Path:
        """A recording of at least `rows` payments of the crowd, made where it is not there."""
        known, path = self.recordings.get(
            crowd, (0, self.directory / f"crowd{len(self.recordings)}.jsonl")
        )
        if known < rows:
            record(crowd, rows, path)
            self.recordings[crowd] = (rows, path)
        return path

    @contextmanager
    def session(
        self,
        name: str,
        *,
        crowd: Crowd,
        rows_max: int,
        readers: Sequence[Isolation] = ("read_committed",),
        stamped: bool = True,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        relay: str = "",
    ) -> Iterator[Session]:
        """Fresh topics, workers and readers, until the end of the block.

        stamped: readers note latencies. settings: of the worker, by name in lower case. relay: the
        guarantee of a relay, beside the workers.
        """
        prefix = f"s{next(_numbers)}.{name}."
        session = Session(self, prefix, self.recording(crowd, rows_max + WARM_UP_ROWS))
        with ExitStack() as stack:
            stack.callback(session.clear)
            session.start(stack, readers, stamped, workers, settings or {})
            if relay:
                session.start_relay(stack, relay)
            try:
                yield session
                session.verify()
            except BenchmarkError as error:
                raise BenchmarkError(f"{name}: {error}\n{session.last_log_lines()}") from error
