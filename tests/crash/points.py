"""Named points of a worker's life at which it can be made to die.

The engine knows nothing of this: the campaign starts it through `tests.crash.launcher`, which puts
a trap around the engine's own methods. An order file (`point passes`) arms the trap, at start or on
SIGUSR1; it is removed when read, so that a restarted worker lives.
"""

import asyncio
import os
import signal
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

#: Where a worker dies: before and after each, and once in the middle of a commit.
POINTS: Final = (
    "produce.before",
    "produce.after",
    "state.before",
    "state.after",
    "commit.before",
    "commit.during",
    "commit.after",
    "store.before",
    "store.after",
    "fence.before",
    "fence.after",
    "recovery.before",
    "recovery.during",
    "recovery.after",
    "release.before",
    "release.after",
)


class Trap:
    """Kills its own process at the ordered point, after the ordered number of passes."""

    def __init__(self, order: Path) -> None:
        self._order = order
        self._point = ""
        self._passes = 0

    def read_order(self, *_: Any) -> None:
        """Take the order, if there is one."""
        if self._order.exists():
            point, passes = self._order.read_text().split()
            self._order.unlink()
            self._point, self._passes = point, int(passes)

    def pass_by(self, point: str) -> None:
        """Die here if that is the order."""
        if self._is_due(point):
            _die()

    async def pass_within(self, point: str, call: Awaitable[Any]) -> Any:
        """Await the call; die while it runs if that is the order."""
        passes = self._passes
        task = asyncio.ensure_future(call)
        if self._is_due(point):
            await asyncio.sleep(_REQUEST_LEAVES_S[passes % len(_REQUEST_LEAVES_S)])
            _die()
        return await task

    def _is_due(self, point: str) -> bool:
        if point != self._point:
            return False
        self._passes -= 1
        return self._passes <= 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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
