"""A real broker as seen through a proxy that hides that it has transactions.

The proxy takes their requests out of the list of what the broker knows (ApiVersions, in the version
that aiokafka asks for) and puts its own port wherever the broker names itself.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HOST = "127.0.0.1"
_API_VERSIONS = 18
#: InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit.
_HIDDEN = frozenset({22, 24, 25, 26, 28})
_REQUEST = struct.Struct(">hhi")
_ENTRY = struct.Struct(">hhh")


@contextmanager
def without_transactions(bootstrap_servers: str, hidden: frozenset[int] = _HIDDEN) -> Iterator[str]:
    """The address of the broker without these requests, while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = _Proxy(int(bootstrap_servers.rpartition(":")[2]), hidden)
    try:
        port = asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(10)
        yield f"{_HOST}:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class _Proxy:
    def __init__(self, broker_port: int, hidden: frozenset[int]) -> None:
        self._broker_port = broker_port
        self._hidden = hidden
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, _HOST, 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        broker, requests = await asyncio.open_connection(_HOST, self._broker_port)
        asked: set[int] = set()
        for way in (self._forward(client, requests, asked), self._back(broker, answers, asked)):
            task = asyncio.ensure_future(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, client: asyncio.StreamReader, requests: asyncio.StreamWriter, asked: set[int]
    ) -> None:
        try:
            while True:
                frame = await _frame(client)
                key, version, correlation = _REQUEST.unpack_from(frame)
                if (key, version) == (_API_VERSIONS, 0):
                    asked.add(correlation)
                await _send(requests, frame)
        except (asyncio.IncompleteReadError, OSError):
            requests.close()

    async def _back(
        self, broker: asyncio.StreamReader, answers: asyncio.StreamWriter, asked: set[int]
    ) -> None:
        own, theirs = (_HOST.encode() + p.to_bytes(4) for p in (self._port, self._broker_port))
        try:
            while True:
                frame = await _frame(broker)
                if int.from_bytes(frame[:4]) in asked:
                    frame = self._without_hidden(frame)
                await _send(answers, frame.replace(theirs, own))
        except (asyncio.IncompleteReadError, OSError):
            answers.close()

    def _without_hidden(self, frame: bytes) -> bytes:
        head, count = frame[:6], int.from_bytes(frame[6:10])
        entries = [frame[10 + 6 * n : 16 + 6 * n] for n in range(count)]
        kept = [one for one in entries if _ENTRY.unpack(one)[0] not in self._hidden]
        return head + len(kept).to_bytes(4) + b"".join(kept)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


async def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4) + frame)
    await writer.drain()
