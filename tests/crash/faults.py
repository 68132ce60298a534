"""The faults, each a row of the campaign: what is broken, how often, and under which settings."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from tests.crash.fleet import Worker, lose_state
from tests.crash.stage import Stage

_COUNTS: Final = (4, 2, 3, 1)
#: Time for an armed worker to come past its point.
_TRAP_TIMEOUT_S: Final = 30.0
_BROKER_TIMEOUT_S: Final = 120.0
_SESSION_S: Final = 6.0
#: A resumed worker learns within this that it was given up.
_NOTICE_S: Final = 1.0
#: How often the broker looks for transactions that are past their timeout.
_ABORT_INTERVAL_S: Final = 10.0
TRANSACTION_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, how often it strikes, and what it needs."""

    name: str
    strike: Callable[[Stage, int], None]
    count: int
    workers: int = 4
    #: Static membership: a restarted worker takes its own place again, if it is back in time.
    is_static: bool = False
    is_trapped: bool = False
    #: The broker itself is broken: nobody else may need it meanwhile.
    breaks_broker: bool = False
    settings: dict[str, str] = field(default_factory=dict)


def kill_one(stage: Stage, count: int) -> None:
    """kill -9 at a random time; every fourth time another one while the first recovers."""
    while stage.fleet.kills < count:
        stage.pause(stage.rng.uniform(0.1, 1.0))
        first, second = stage.rng.sample(stage.fleet.wanted, 2)
        since = time.monotonic()
        stage.fleet.kill(first)
        if stage.rng.random() < 0.25:
            stage.pause(stage.rng.uniform(0.2, 4.0))
            stage.fleet.kill(second)
        stage.settle(since=since)


def kill_all(stage: Stage, count: int) -> None:
    """kill -9 of every worker at once."""
    while stage.fleet.kills < count:
        stage.pause(stage.rng.uniform(0.1, 1.0))
        since = time.monotonic()
        for worker in stage.fleet.wanted:
            stage.fleet.kill(worker)
        stage.settle(since=since)


def kill_at(*points: str, passes_max: int = 20) -> Callable[[Stage, int], None]:
    """Workers die at named points, two at a time."""

    def strike(stage: Stage, count: int) -> None:
        turn = cycle(points)
        while stage.fleet.kills < count:
            victims = stage.rng.sample(stage.fleet.wanted, 2)
            for worker in victims:
                _order(stage, worker, next(turn), passes_max)
                worker.send(signal.SIGUSR1)
            since = _await_deaths(stage, stage.fleet.kills + len(victims))
            stage.settle(since=since)

    return strike


def kill_in_recovery(*points: str) -> Callable[[Stage, int], None]:
    """Workers lose their state, and die again while they rebuild it."""

    def strike(stage: Stage, count: int) -> None:
        turn = cycle(points)
        while stage.fleet.kills < count:
            victims = stage.rng.sample(stage.fleet.wanted, 2)
            kills = stage.fleet.kills
            for worker in victims:
                stage.fleet.kill(worker)
                lose_state(worker)
                _order(stage, worker, next(turn), 1)
            since = _await_deaths(stage, kills + 2 * len(victims))
            stage.settle(since=since)

    return strike


def kill_in_rebalance(*points: str) -> Callable[[Stage, int], None]:
    """Workers die while they give back or take over partitions, as another one leaves."""

    def strike(stage: Stage, count: int) -> None:
        turn = cycle(points)
        while stage.fleet.kills < count:
            leaver, *victims = stage.rng.sample(stage.fleet.wanted, 3)
            kills = stage.fleet.kills
            for worker in victims:
                _order(stage, worker, next(turn), 3)
                worker.send(signal.SIGUSR1)
                _await_arming(stage, worker)
            stage.fleet.terminate(leaver)
            since = _await_deaths(stage, kills + len(victims))
            stage.settle(since=since)

    return strike


def terminate(stage: Stage, count: int) -> None:
    """SIGTERM at a random time; the supervisor starts another in its place."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(0.1, 2.0))
        since = time.monotonic()
        stage.fleet.terminate(stage.rng.choice(stage.fleet.wanted))
        stage.settle(since=since)


def scale(stage: Stage, count: int) -> None:
    """Workers 1→4→2→3→1 under load, so many times."""
    for number in range(len(_COUNTS) * count):
        stage.pause(stage.rng.uniform(0.1, 1.0))
        since = time.monotonic()
        stage.fleet.scale(_COUNTS[number % len(_COUNTS)])
        stage.settle(since=since)


def zombie(stage: Stage, count: int) -> None:
    """SIGSTOP past the session: others take over; SIGCONT: it finds itself fenced."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(0.1, 1.0))
        worker = stage.rng.choice(stage.fleet.wanted)
        since = time.monotonic()
        worker.hold()
        stage.pause(_SESSION_S + stage.rng.uniform(0.5, 3.0))
        stage.settle(since=since)
        worker.let_go()
        stage.pause(_NOTICE_S)
        stage.settle(since=None)


def outlive_transaction(stage: Stage, count: int) -> None:
    """SIGSTOP until the broker has aborted the open transactions, within the session."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(0.1, 1.0))
        worker = stage.rng.choice(stage.fleet.wanted)
        worker.hold()
        stage.pause(TRANSACTION_TIMEOUT_S + _ABORT_INTERVAL_S + stage.rng.uniform(1.0, 3.0))
        since = time.monotonic()
        worker.let_go()
        stage.pause(_NOTICE_S)
        stage.settle(since=since)


def restart_broker(stage: Stage, count: int) -> None:
    """The broker stops orderly and starts again."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(1.0, 3.0))
        _run_beside(stage, stage.broker.restart)
        stage.settle(since=time.monotonic())


def kill_broker(stage: Stage, count: int) -> None:
    """kill -9 of the broker, then it starts again."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(1.0, 3.0))
        stage.broker.kill()
        _run_beside(stage, stage.broker.restart)
        stage.settle(since=time.monotonic())


def lose_broker(seconds: float) -> Callable[[Stage, int], None]:
    """The broker is away for long enough that every client gives up."""

    def strike(stage: Stage, count: int) -> None:
        for _ in range(count):
            stage.broker.kill()
            stage.pause(seconds)
            _run_beside(stage, stage.broker.restart)
            stage.settle(since=time.monotonic())

    return strike


def each(*strikes: Callable[[Stage, int], None]) -> Callable[[Stage, int], None]:
    """Several faults one after the other, each so many times."""

    def strike(stage: Stage, count: int) -> None:
        for one in strikes:
            one(stage, count)

    return strike


def _order(stage: Stage, worker: Worker, point: str, passes_max: int) -> None:
    worker.order.write_text(f"{point} {stage.rng.randint(1, passes_max)}")


def _await_arming(stage: Stage, worker: Worker) -> None:
    stage.wait_for(lambda: not worker.order.exists(), "arming", _TRAP_TIMEOUT_S)


def _await_deaths(stage: Stage, kills: int) -> float:
    """When the last of the workers died that were to die."""
    stage.wait_for(lambda: stage.fleet.kills >= kills, "death at its point", _TRAP_TIMEOUT_S)
    return max(worker.killed_at for worker in stage.fleet.wanted)


def _run_beside(stage: Stage, work: Callable[[], None]) -> None:
    """Do something that takes time while the supervisor goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        stage.wait_for(future.done, "the broker's return", _BROKER_TIMEOUT_S)
        future.result()
