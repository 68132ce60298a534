"""An asyncio event loop for one simulated process: no I/O, virtual time, one callback at a time.

The world decides which process goes on and when; so a process can be killed or stopped between any
two callbacks, which is at any await of its code, and the same seed always takes the same way.
"""

import asyncio
import contextlib
import heapq
import math
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class ProcessLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in the order they became due, when `step` is called."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._tasks: list[asyncio.Task[Any]] = []
        #: What asyncio would log: exceptions nobody retrieved and the like.
        self.complaints: list[str] = []

    def time(self) -> float:
        """Virtual seconds."""
        return self._now()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run when everything now due has run."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run after virtual seconds."""
        return self.call_at(self._now() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run at a virtual time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when they come up."""

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this process."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        """A task of this process."""
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """What a thread would do, done; told with the next step."""
        done = self.create_future()
        try:
            done.set_result(function(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done

    def get_debug(self) -> bool:
        """No debug mode."""
        return False

    def is_running(self) -> bool:
        """Always, in between too."""
        return True

    def is_closed(self) -> bool:
        """Never: a dead process is simply not stepped any more."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep the complaint for the trace."""
        error = context.get("exception")
        self.complaints.append(f"{context.get('message')}: {error!r}")

    def next_time(self) -> float:
        """When the next callback is due, 0 for at once; infinite where there is none."""
        if self._ready:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

    def step(self) -> None:
        """Run one callback that is due; the caller has made this the running loop."""
        if not self._ready:
            now = self._now()
            while self._timers and self._timers[0][0] <= now:
                self._ready.append(heapq.heappop(self._timers)[2])
        if self._ready and not (handle := self._ready.popleft()).cancelled():
            handle._run()

    def bury(self) -> None:
        """Let go of what a dead process has left, with none of it coming to life again.

        Closing a coroutine runs its `finally` blocks; without a running loop they get nowhere, and
        the fakes do nothing for the dead.
        """
        # Else what they start waits for ever in the thread's own loop, and with it the whole seed.
        asyncio.set_event_loop(None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # "was never awaited"
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()
