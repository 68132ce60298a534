"""Coroutines begun without a task."""

import asyncio

import pytest

from streamapp.engine.at_once import Begun
from tests.engine.running import run_async


def test_what_does_not_wait_ends_at_once() -> None:
    """Without the event loop having had a turn."""

    async def answer() -> int:
        return 42

    begun = Begun(answer())
    assert begun.has_ended
    assert 42 == begun.result


def test_what_waits_goes_on_as_a_task_would() -> None:
    """Its result is the coroutine's, and so is its failure."""

    async def work() -> None:
        gate = asyncio.Event()

        async def wait(number: int) -> int:
            await gate.wait()
            await asyncio.sleep(0)
            return 6 // number

        sound, broken = Begun(wait(3)), Begun(wait(0))
        assert not sound.has_ended
        tasks = [asyncio.ensure_future(sound), asyncio.ensure_future(broken)]
        await asyncio.sleep(0)
        gate.set()
        assert 2 == await tasks[0]
        with pytest.raises(ZeroDivisionError):
            await tasks[1]

    run_async(work())


def test_who_is_cancelled_while_waiting_is_told() -> None:
    """As every coroutine."""

    async def work() -> None:
        told: list[str] = []

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("cancelled")
                raise

        task = asyncio.ensure_future(Begun(wait()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ["cancelled"] == told

    run_async(work())
