"""Records as the consumer hands them to the engine."""

from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord

Headers = Sequence[tuple[str, bytes]]


def record(
    offset: int,
    key: bytes | None = b"u",
    value: bytes | None = b"{}",
    headers: Headers = (),
    *,
    partition: int = 2,
) -> ConsumerRecord:
    """One record of `transactions`, with what a test does not care about filled in."""
    return ConsumerRecord(
        topic="transactions",
        partition=partition,
        offset=offset,
        timestamp=1_000 + offset,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key or b""),
        serialized_value_size=len(value or b""),
        headers=tuple(headers),
    )


def records(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], first_offset: int = 0
) -> list[ConsumerRecord]:
    """Records with offsets in a row."""
    pairs = enumerate(zip(keys, values, strict=True), start=first_offset)
    return [record(offset, key, value) for offset, (key, value) in pairs]
