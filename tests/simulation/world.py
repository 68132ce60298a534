"""The simulated world: virtual time, processes on hosts, and what happens by chance or plan."""

import asyncio
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.loop import ProcessLoop

#: Callbacks of one run: a hundred times what a run needs, so reaching it means it spins.
STEPS_MAX = 2_000_000

#: Between two looks at whether a run is over.
LOOK_INTERVAL_S = 0.2


class Stuck(Exception):
    """The run does not come to an end."""


class Process:
    """One operating-system process: an event loop that may stand still or be gone."""

    def __init__(self, name: str, world: "World") -> None:
        self.name = name
        self.world = world
        # Abstract is only what has to do with I/O, which there is none of.
        self.loop = ProcessLoop(lambda: world.now)  # type: ignore[abstract]
        self.is_alive = True
        self.is_paused = False
        #: Killed before its callback of this number.
        self.kill_at: int | None = None
        self.on_kill: Callable[[], None] = lambda: None
        self._steps = 0

    def run(self, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin."""
        return self.loop.create_task(main)

    def die(self) -> None:
        """End without another callback, as by kill -9."""
        self.is_alive = False
        self.world.lay_out(self)

    def kill_after(self, steps: int, on_kill: Callable[[], None]) -> None:
        """Die `steps` callbacks from now."""
        if self.kill_at is None:
            self.kill_at, self.on_kill = self._steps + steps, on_kill

    def step(self) -> None:
        """Run one callback, or die."""
        if self.kill_at is not None and self._steps >= self.kill_at:
            self.die()
            self.on_kill()
            return
        self._steps += 1
        self.loop.step()


class World:
    """Time goes on from one event to the next; chance comes from one seeded generator."""

    def __init__(self, seed: int, *, keeps_trace: bool = False) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.processes: list[Process] = []
        self._dead: list[Process] = []
        self.trace: list[str] = []
        self.violations: Counter[str] = Counter()
        #: How often each thing happened.
        self.met: Counter[str] = Counter()
        self._keeps_trace = keeps_trace
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._steps = 0
        self._running: Process | None = None

    def note(self, who: str, what: str, **fields: Any) -> None:
        """Count what happens, and write a line of the trace."""
        self.met[what] += 1
        if self._keeps_trace:
            told = " ".join(f"{name}={value}" for name, value in fields.items())
            self.trace.append(f"{self.now:10.4f}  {who:<12} {what} {told}".rstrip())

    def after(self, delay: float, callback: Callable[[], object]) -> None:
        """Have something happen."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, callback))

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens now."""
        return self.random.random() < probability

    def new_process(self, name: str) -> Process:
        """A process that has not begun."""
        process = Process(name, self)
        self.processes.append(process)
        return process

    def lay_out(self, process: Process) -> None:
        """A process is dead; what it left is kept until the end, so that nothing is collected."""
        if process in self.processes:
            self.processes.remove(process)
            self._dead.append(process)

    def run_for(self, seconds: float) -> None:
        """Go on for some time. Raises Stuck."""
        end = self.now + seconds
        while self._go_on(end):
            pass

    def run_until(self, is_over: Callable[[], bool], deadline: float) -> bool:
        """Go on until it is over; False where the deadline came first. Raises Stuck."""
        while not is_over():
            if self.now >= deadline:
                return False
            self.run_for(LOOK_INTERVAL_S)
        return True

    def _go_on(self, deadline: float) -> bool:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise Stuck(f"{STEPS_MAX} callbacks and no end")
        soonest, ready = self._soonest()
        comes = self._events[0][0] if self._events else math.inf
        upcoming = min(comes, soonest)
        if upcoming > deadline:
            self.now = max(self.now, deadline)
            return False
        self.now = max(self.now, upcoming)
        if comes <= soonest:
            heapq.heappop(self._events)[2]()
        else:
            self._let(ready[0] if len(ready) == 1 else self.random.choice(ready))
        return True

    def _soonest(self) -> tuple[float, list[Process]]:
        """When a process has something to do next, and which; what is overdue is due now."""
        soonest, ready = math.inf, []
        for process in self.processes:
            if process.is_paused:
                continue
            when = max(process.loop.next_time(), self.now)
            if when < soonest:
                soonest, ready = when, [process]
            elif when == soonest < math.inf:
                ready.append(process)
        return soonest, ready

    def _let(self, process: Process) -> None:
        """One process does one thing. Which loop runs is set only when it changes: it is slow."""
        if self._running is not process:
            asyncio._set_running_loop(process.loop)
            self._running = process
        process.step()

    def bury(self) -> None:
        """End the run: nothing simulated lives on."""
        asyncio._set_running_loop(None)
        for process in list(self.processes):
            process.die()
        for process in self._dead:
            process.loop.bury()
