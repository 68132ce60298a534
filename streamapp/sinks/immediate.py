"""The part that sinks without a buffer share: what `write` returned from is durable."""

from collections.abc import Collection, Mapping


class Immediate:
    """Sink methods of a store that is durable on return from `write`."""

    #: Nothing is held, so there is nothing to flush; the value only paces the runner's call.
    hold_s_max = 60.0
    batch_records_max = 10_000

    def assign(self, ends: Mapping[int, int]) -> None:
        """Nothing to take over: no state belongs to a partition."""

    def erase(self, user_id: str) -> None:
        """Nothing is kept of users, unless a sink says otherwise."""

    def held_from(self, partition: int) -> int | None:  # noqa: ARG002 - the protocol's signature
        """Nothing is ever in memory only."""
        return None

    def flush(self) -> None:
        """Nothing is held."""

    def forget(self, partitions: Collection[int]) -> None:
        """No state belongs to a partition."""
