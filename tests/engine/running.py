"""Asynchronous work in a test, never without a deadline."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: No test of one partition in memory takes longer, unless something hangs.
RUN_TIMEOUT_S = 60.0


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work."""

    async def bounded() -> T:
        return await asyncio.wait_for(work, RUN_TIMEOUT_S)

    return asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until the condition holds."""
    while not condition():  # the deadline is `run_async`'s
        await asyncio.sleep(0)
