"""Messages one by one, out of the columns the engine sends them in."""

from collections.abc import Iterable

from aiokafka.record.util import decode_varint

from streamapp.engine.record_batch import Header, Message, Messages


def unpacked(blocks: Iterable[Messages]) -> list[Message]:
    """The messages of all blocks, in order."""
    return [
        (block.keys[row], block.values[row], decoded_headers(block.headers[row]))
        for block in blocks
        for row in range(len(block))
    ]


def decoded_headers(encoded: bytes | None) -> list[Header]:
    """What `encoded_headers` was given."""
    assert encoded is not None
    buffer = bytearray(encoded)
    count, at = decode_varint(buffer, 0)
    headers: list[Header] = []
    for _ in range(count):
        name, at = _field(buffer, at)
        value, at = _field(buffer, at)
        assert name is not None
        headers.append((name.decode(), value))
    assert at == len(encoded)
    return headers


def _field(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(buffer, at)
    if size < 0:
        return None, at
    return bytes(buffer[at : at + size]), at + size
