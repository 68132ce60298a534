"""Named points of a worker's life at which a signal can strike it.

The engine knows nothing of this: the campaign starts it through `tests.crash.launcher`, which puts
a trap around the engine's own methods. An order file (`point passes signal`) arms the trap, at
start or on SIGUSR1; it is removed when read, so that a restarted worker lives.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from streamapp.engine import engine, recovery
from streamapp.engine.partition import PartitionTask
from streamapp.engine.partition_log import ExactlyOnceLog
from streamapp.engine.store import StateStore

#: Time for a commit request to leave before its sender dies: some get there, some don't.
_REQUEST_LEAVES_S: Final = (0.0, 0.001, 0.003)


class Trap:
    """Sends its own process a signal at the ordered point, after the ordered number of passes.

    It leaves the time of it in the file `struck` beside the order.
    """

    def __init__(self, order: Path) -> None:
        self._order = order
        self._point = ""
        self._passes = 0
        self._signal = signal.SIGKILL

    def read_order(self, *_: Any) -> None:
        """Take the order, if there is one."""
        if self._order.exists():
            point, passes, number = self._order.read_text().split()
            self._order.unlink()
            self._point, self._passes = point, int(passes)
            self._signal = signal.Signals(int(number))

    def pass_by(self, point: str) -> None:
        """Strike here if that is the order."""
        if self._is_due(point):
            self._strike()

    async def pass_within(self, point: str, call: Awaitable[Any]) -> Any:
        """Await the call; strike while it runs if that is the order."""
        passes = self._passes
        task = asyncio.ensure_future(call)
        if self._is_due(point):
            await asyncio.sleep(_REQUEST_LEAVES_S[passes % len(_REQUEST_LEAVES_S)])
            self._strike()
        return await task

    def _strike(self) -> None:
        self._point = ""
        self._order.with_name("struck").write_text(str(time.monotonic()))
        os.kill(os.getpid(), self._signal)

    def _is_due(self, point: str) -> bool:
        if point != self._point:
            return False
        self._passes -= 1
        return self._passes <= 0


def install(trap: Trap) -> None:
    """Put the trap around the engine's methods."""
    _around(ExactlyOnceLog, "append", "produce", trap)
    _around(ExactlyOnceLog, "commit", "state", trap)
    _around(ExactlyOnceLog, "open", "fence", trap)
    _around(AIOKafkaProducer, "commit_transaction", "commit", trap)
    _around(PartitionTask, "close", "release", trap)
    _around(engine, "recover", "recovery", trap)
    _around_plain(StateStore, "write", "store", trap)
    _around_plain(recovery, "_apply", "recovery.apply", trap)


def _around(owner: Any, name: str, point: str, trap: Trap) -> None:
    inner: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def wrapped(*arguments: Any, **options: Any) -> Any:
        trap.pass_by(f"{point}.before")
        outcome = await trap.pass_within(f"{point}.during", inner(*arguments, **options))
        trap.pass_by(f"{point}.after")
        return outcome

    setattr(owner, name, wrapped)


def _around_plain(owner: Any, name: str, point: str, trap: Trap) -> None:
    inner: Callable[..., Any] = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        trap.pass_by(f"{point}.before")
        outcome = inner(*arguments, **options)
        trap.pass_by(f"{point}.after")
        return outcome

    setattr(owner, name, wrapped)
