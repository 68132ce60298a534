"""Load on the API: answers are told apart however they arrive."""

import time
from typing import Any

import pytest

from benchmarks.api_load import Connection, Request

ANSWER = b"HTTP/1.1 404 Not Found\r\ndate: x\r\nContent-Length: 4\r\n\r\nnone"


class _Wire:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, content: bytes) -> None:
        self.written.append(content)


def _request(kind: str) -> Request:
    return Request(kind, b"GET / HTTP/1.1\r\n\r\n", time.perf_counter(), -1)


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
def test_an_answer_counts_once_it_is_whole(size: int) -> None:
    """Cut anywhere; the connection then takes its next request."""
    done: list[tuple[Any, ...]] = []
    connection = Connection(lambda *told: done.append(told))
    wire = _Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    for kind in ("verdict", "score"):
        connection.ask(_request(kind))
        for start in range(0, len(ANSWER), size):
            assert len(done) == len(wire.written) - 1
            connection.data_received(ANSWER[start : start + size])
    assert [("verdict", 404), ("score", 404)] == [(told[1].kind, told[2]) for told in done]
    assert all(told[3] >= 0 for told in done)


def test_only_a_connection_that_waits_must_not_be_closed() -> None:
    """The API closes idle ones after a while."""
    connection = Connection(lambda *_: None)
    connection.connection_made(_Wire())  # type: ignore[arg-type]
    connection.ask(_request("verdict"))
    with pytest.raises(SystemExit, match="waited for verdict"):
        connection.connection_lost(None)
    connection.data_received(ANSWER)
    connection.connection_lost(None)
