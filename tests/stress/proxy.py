"""A TCP proxy before a server, which can be slow, silent or away while the server is well."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from streamapp.broker.network import free_port

Mood = Literal["well", "slow", "silent", "away"]

#: What a slow server takes for each piece of its answers.
SLOW_S: Final = 0.3
_PIECE_BYTES: Final = 65_536
_ANSWER_S: Final = 10.0


class Proxy:
    """Passes bytes on as its mood has it. silent: it takes everything and answers nothing."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self._upstream_port = upstream_port
        self._mood: Mood = "well"
        self._speaks = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._turn("well"))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._turn("away"))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_S)
        self._loop.close()

    def be(self, mood: Mood) -> None:
        """From now on; connections that are open are broken only where it is away."""
        self._run(self._turn(mood))

    def instead_of(self, url: str) -> str:
        """The server's URL with the proxy in its place."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    async def _turn(self, mood: Mood) -> None:
        self._mood = mood
        if mood == "silent":
            self._speaks.clear()
        else:
            self._speaks.set()
        if mood == "away":
            await self._leave()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            ways = self._ask(reader, upstream[1]), self._answer(upstream[0], writer)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(*ways)
        finally:
            self._open.discard(task)
            writer.close()

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """What is asked is always done, whether or not its answer gets back."""
        try:
            while piece := await client.read(_PIECE_BYTES):
                server.write(piece)
                await server.drain()
        finally:
            server.close()

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            while piece := await server.read(_PIECE_BYTES):
                await self._speaks.wait()
                if self._mood == "slow":
                    await asyncio.sleep(SLOW_S)
                client.write(piece)
                await client.drain()
        finally:
            client.close()
