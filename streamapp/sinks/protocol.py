"""What every sink promises to the runner, and the two ways in which it may fail."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from streamapp.domain.trace_context import TraceContext
from streamapp.domain.verdict import Verdict

Headers = Sequence[tuple[str, object]]


class StoredVerdict(msgspec.Struct, frozen=True, gc=False):
    """A verdict with its bytes as published, its place in the topic the sink reads, its headers."""

    verdict: Verdict
    payload: bytes
    partition: int
    offset: int
    headers: Headers = ()

    @property
    def trace(self) -> TraceContext:
        """That of its transaction; few sinks ask, so it is read when asked for."""
        return TraceContext.of_headers(self.headers)


class Erased(msgspec.Struct, frozen=True, gc=False):
    """A user to forget, in order among the verdicts of a partition."""

    user_id: str
    partition: int


class SinkError(Exception):
    """A sink could not do its work; the message says why, without payload or secrets."""


class Retryable(SinkError):
    """The other side is away or busy: the same call may succeed later.

    `retry_after_s` is the other side's own wish, where it stated one.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Fatal(SinkError):
    """Waiting does not help: wrong password, missing table, unwritable directory."""


class Sink(Protocol):
    """Stores verdicts so that each `verdict_id` counts once, however often it is written.

    Every method may raise Retryable or Fatal. A call that raised Retryable has lost nothing and may
    be repeated with the same verdicts. No call blocks longer than a minute, so that the consumer
    stays in its group.
    """

    @property
    def name(self) -> str:
        """The sink's name, as in its consumer group, metrics and command."""
        ...

    @property
    def hold_s_max(self) -> float:
        """How long a verdict may wait in memory before the runner calls `flush`, in seconds."""
        ...

    @property
    def batch_records_max(self) -> int:
        """The most verdicts that one `write` takes in time."""
        ...

    def open(self) -> None:
        """Connect and check that the other side is fit for use."""
        ...

    def assign(self, ends: Mapping[int, int]) -> None:
        """Take over these partitions of the topic the sink reads, given each one's end offset."""
        ...

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Take verdicts in partition order; return how many were new to the sink."""
        ...

    def erase(self, user_id: str) -> None:
        """Forget what is stored of a user, as far as this sink can; repeated without harm."""
        ...

    def held_from(self, partition: int) -> int | None:
        """The first offset that is in memory only; None if all that was written is durable."""
        ...

    def flush(self) -> None:
        """Make all that was written durable."""
        ...

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what memory holds of partitions that now belong to another process."""
        ...

    def close(self) -> None:
        """Flush, then let go of connections."""
        ...
