"""The faults, each a row of the campaign: what is broken, how often, and under which settings."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from tests.crash import sinks
from tests.crash.fleet import Worker, lose_state
from tests.crash.stage import Stage

#: Transactions a second.
RATE_PER_S: Final = 300.0
_COUNTS: Final = (4, 2, 3, 1)
#: Time for an armed worker to come past its point.
_TRAP_TIMEOUT_S: Final = 120.0
_BROKER_TIMEOUT_S: Final = 120.0
_SESSION_S: Final = 6.0
#: A resumed worker learns within this that it was given up.
_NOTICE_S: Final = 1.0
#: How often the broker looks for transactions that are past their timeout.
_ABORT_INTERVAL_S: Final = 10.0
TRANSACTION_TIMEOUT_S: Final = 2.0

Strike = Callable[[Stage, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, how often it strikes, and what it needs."""

    name: str
    strike: Strike
    count: int
    workers: int = 4
    #: Static membership: a restarted worker takes its own place again, if it is back in time.
    is_static: bool = False
    is_trapped: bool = False
    #: More than the members' starts bring about; None is any number.
    rebalances_max: int | None = None
    per_s: float = RATE_PER_S
    #: The broker itself is broken: nobody else may need it meanwhile.
    breaks_broker: bool = False
    settings: dict[str, str] = field(default_factory=dict)


def kill_some(at_once: int) -> Strike:
    """kill -9 of so many at a random time; now and then of another one while they recover."""

    def strike(stage: Stage, count: int) -> None:
        until = stage.fleet.kills + count
        while stage.fleet.kills < until:
            stage.pause(stage.rng.uniform(0.1, 1.0))
            shuffled = stage.rng.sample(stage.fleet.wanted, len(stage.fleet.wanted))
            since = time.monotonic()
            for worker in shuffled[:at_once]:
                stage.fleet.kill(worker)
            if shuffled[at_once:] and stage.rng.random() < 0.25:
                stage.pause(stage.rng.uniform(0.2, 4.0))
                stage.fleet.kill(shuffled[at_once])
            stage.settle(since=since)

    return strike


def strike_at(
    *points: str, passes_max: int = 20, at_once: int = 2, by: signal.Signals = signal.SIGKILL
) -> Strike:
    """Workers are struck at named points, some at a time."""

    def strike(stage: Stage, count: int) -> None:
        turn, until = cycle(points), stage.fleet.ends + count
        while stage.fleet.ends < until:
            ends = stage.fleet.ends
            victims = stage.rng.sample(stage.fleet.wanted, at_once)
            for worker in victims:
                _order(stage, worker, next(turn), passes_max, by)
                worker.send(signal.SIGUSR1)
            since = _await_ends(stage, ends + len(victims))
            stage.settle(since=since)

    return strike


def strike_in_recovery(
    *points: str, at_once: int = 2, by: signal.Signals = signal.SIGKILL
) -> Strike:
    """Workers are killed and lose their state, and are struck again while they rebuild it."""

    def strike(stage: Stage, count: int) -> None:
        turn, until = cycle(points), stage.fleet.ends + count
        while stage.fleet.ends < until:
            victims = stage.rng.sample(stage.fleet.wanted, at_once)
            ends = stage.fleet.ends
            for worker in victims:
                stage.fleet.kill(worker)
                lose_state(worker)
                _order(stage, worker, next(turn), 1, by)
            since = _await_ends(stage, ends + 2 * len(victims))
            stage.settle(since=since)

    return strike


def strike_in_rebalance(
    *points: str, at_once: int = 2, by: signal.Signals = signal.SIGKILL
) -> Strike:
    """Workers are struck while they give back or take over partitions, as another one leaves."""

    def strike(stage: Stage, count: int) -> None:
        turn, done = cycle(points), 0
        while done < count:
            leaver, *victims = stage.rng.sample(stage.fleet.wanted, 1 + at_once)
            ends = stage.fleet.ends
            for worker in victims:
                _order(stage, worker, next(turn), 3, by)
                worker.send(signal.SIGUSR1)
                _await_arming(stage, worker)
            stage.fleet.terminate(leaver)
            since = _await_ends(stage, ends + 1 + len(victims))
            stage.settle(since=since)
            done += len(victims)

    return strike


def terminate(stage: Stage, count: int) -> None:
    """SIGTERM at a random time; the supervisor starts another in its place."""
    for _ in range(count):
        stage.pause(stage.rng.uniform(0.1, 2.0))
        since = time.monotonic()
        stage.fleet.terminate(stage.rng.choice(stage.fleet.wanted))
        stage.settle(since=since)


def roll(stage: Stage, count: int) -> None:
    """A rolling restart: SIGTERM and start of each worker in turn, so many in all."""
    turn = cycle(stage.fleet.wanted)
    for _ in range(count):
        since = time.monotonic()
        stage.fleet.terminate(next(turn))
        stage.settle(since=since)


def terminate_without_broker(stage: Stage, count: int) -> None:
    """SIGTERM of every worker while the broker is away, noticed or not."""
    workers, until = len(stage.fleet.wanted), stage.fleet.ends + count
    while stage.fleet.ends < until:
        stage.pause(stage.rng.uniform(0.5, 2.0))
        ends = stage.fleet.ends
        stage.broker.kill()
        stage.pause(stage.rng.uniform(0.0, 4.0))
        stage.fleet.scale(0)
        _await_ends(stage, ends + workers)
        _run_beside(stage, stage.broker.restart)
        since = time.monotonic()
        stage.fleet.scale(workers)
        stage.settle(since=since)


def kill_sinks(stage: Stage, count: int) -> None:
    """Sinks run beside the workers and die of kill -9 again and again, workers now and then."""
    running = {name: stage.sinks.start(name) for name in sinks.NAMES}
    try:
        for _ in range(count):
            stage.pause(stage.rng.uniform(2.0, 10.0))
            name = stage.rng.choice(sinks.NAMES)
            running[name].kill()
            running[name].wait()
            running[name] = stage.sinks.start(name)
            if stage.rng.random() < 0.25:
                since = time.monotonic()
                stage.fleet.kill(stage.rng.choice(stage.fleet.wanted))
                stage.settle(since=since)
    finally:
        for process in running.values():
            process.kill()
            process.wait()


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


def lose_broker(seconds: float) -> Strike:
    """The broker is away for long enough that every client gives up."""

    def strike(stage: Stage, count: int) -> None:
        for _ in range(count):
            stage.broker.kill()
            stage.pause(seconds)
            _run_beside(stage, stage.broker.restart)
            stage.settle(since=time.monotonic())

    return strike


def in_turn(*strikes: tuple[Strike, int]) -> Strike:
    """Several faults one after the other, each so often."""

    def strike(stage: Stage, count: int) -> None:
        for _ in range(count):
            for one, times in strikes:
                one(stage, times)

    return strike


def _order(stage: Stage, worker: Worker, point: str, passes_max: int, by: signal.Signals) -> None:
    passes = stage.rng.randint(1, passes_max)
    worker.order.write_text(f"{point} {passes} {int(by)}")


def _await_arming(stage: Stage, worker: Worker) -> None:
    stage.wait_for(lambda: not worker.order.exists(), "arming", _TRAP_TIMEOUT_S)


def _await_ends(stage: Stage, ends: int) -> float:
    """When the last of the workers ended that were struck."""
    stage.wait_for(lambda: stage.fleet.ends >= ends, "an end at the named point", _TRAP_TIMEOUT_S)
    return max(worker.struck_at for worker in stage.fleet.workers)


def _run_beside(stage: Stage, work: Callable[[], None]) -> None:
    """Do something that takes time while the supervisor goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        stage.wait_for(future.done, "the broker's return", _BROKER_TIMEOUT_S)
        future.result()
