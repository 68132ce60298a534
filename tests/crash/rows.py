"""The rows of the full and of the quick campaign."""

import signal
from functools import partial
from typing import Final

from tests.crash import faults
from tests.crash.faults import Row

#: Points of a checkpoint in the order a worker passes them, and what the table calls them.
CHECKPOINT_POINTS: Final = {
    "produce.before": "before produce",
    "produce.after": "after produce",
    "state.during": "between state and offset",
    "commit.before": "before commit",
    "commit.during": "during commit",
    "commit.after": "after commit",
    "store.before": "before RocksDB write",
    "store.after": "after RocksDB write",
}
RECOVERY_POINTS: Final = {
    "recovery.before": "before recovery",
    "recovery.apply.after": "inside recovery",
    "recovery.after": "after recovery",
}
REBALANCE_POINTS: Final = {
    "release.during": "in rebalance, giving back",
    "release.after": "in rebalance, given back",
    "fence.after": "in rebalance, taking over",
}
_OUTLIVING: Final = {
    "STREAMAPP_WORKER__TRANSACTION_TIMEOUT_S": f"{faults.TRANSACTION_TIMEOUT_S:.0f}",
    "STREAMAPP_WORKER__SESSION_TIMEOUT_S": "60",
}


def full() -> list[Row]:
    """Over 300 worker kills, every named point in a row of its own."""
    trapped = partial(Row, is_trapped=True)
    return [
        Row("kill -9 at random", faults.kill_some(1), 8),
        Row("kill -9 of three at random, static members", faults.kill_some(3), 54, is_static=True),
        Row("kill -9 of all at once", faults.kill_some(4), 64),
        *(
            trapped(f"kill -9 {name}", faults.strike_at(point, at_once=4), 12, is_static=True)
            for point, name in CHECKPOINT_POINTS.items()
        ),
        *(
            trapped(
                f"kill -9 {name}", faults.strike_in_recovery(point, at_once=4), 16, is_static=True
            )
            for point, name in RECOVERY_POINTS.items()
        ),
        *(
            trapped(f"kill -9 {name}", faults.strike_in_rebalance(point, at_once=3), 9)
            for point, name in REBALANCE_POINTS.items()
        ),
        Row("6 × kill -9 of sinks, of workers too", faults.kill_sinks, 6),
        Row("rolling restart, static members", faults.roll, 8, is_static=True, rebalances_max=0),
        *_terminations(),
        Row("workers 1→4→2→3→1", faults.scale, 1, workers=1),
        Row("SIGSTOP past session (zombie)", faults.zombie, 2),
        Row("transaction past its timeout", faults.outlive_transaction, 2, settings=_OUTLIVING),
        Row("broker restarted", faults.restart_broker, 2, breaks_broker=True),
        Row("broker killed -9", faults.kill_broker, 2, breaks_broker=True),
        Row("broker away 60 s", faults.lose_broker(60.0), 1, breaks_broker=True),
    ]


def _terminations() -> list[Row]:
    """SIGTERM in every state: the exit has to be in time, with code 0."""
    trapped = partial(Row, is_trapped=True)
    at = partial(faults.strike_at, by=signal.SIGTERM, at_once=3)
    in_recovery = partial(faults.strike_in_recovery, by=signal.SIGTERM, at_once=3)
    in_rebalance = partial(faults.strike_in_rebalance, by=signal.SIGTERM, at_once=3)
    return [
        Row("SIGTERM at random", faults.terminate, 3),
        Row("SIGTERM at five times the load", faults.terminate, 3, per_s=5 * faults.RATE_PER_S),
        trapped("SIGTERM in a checkpoint", at(*CHECKPOINT_POINTS), 6),
        trapped("SIGTERM in recovery", in_recovery(*RECOVERY_POINTS), 6),
        trapped("SIGTERM in rebalance", in_rebalance(*REBALANCE_POINTS), 3),
        Row("SIGTERM, broker away", faults.terminate_without_broker, 4, breaks_broker=True),
    ]


def quick() -> list[Row]:
    """A few of each on three workers; related faults share a row."""
    trapped = partial(Row, is_trapped=True, workers=3)
    return [
        Row("kill -9 at random", faults.kill_some(1), 2, workers=3),
        trapped(
            "kill -9 at every point of a checkpoint",
            faults.strike_at(*CHECKPOINT_POINTS),
            len(CHECKPOINT_POINTS),
            is_static=True,
        ),
        trapped(
            "kill -9 at points of recovery",
            faults.strike_in_recovery(*RECOVERY_POINTS),
            4,
            is_static=True,
        ),
        trapped("kill -9 in rebalance", faults.strike_in_rebalance(*REBALANCE_POINTS), 2),
        Row(
            "rolling restart, static members",
            faults.roll,
            2,
            workers=2,
            is_static=True,
            rebalances_max=0,
        ),
        Row(
            "workers 1→4→2→3→1, SIGTERM",
            faults.in_turn((faults.scale, 1), (faults.terminate, 1)),
            1,
            workers=1,
        ),
        Row("SIGSTOP past session (zombie)", faults.zombie, 1, workers=2),
        Row(
            "transaction past its timeout",
            faults.outlive_transaction,
            1,
            workers=2,
            settings=_OUTLIVING,
        ),
        Row("broker killed -9", faults.kill_broker, 1, workers=2, breaks_broker=True),
    ]


def short() -> list[Row]:
    """Over 20 kills in little time, for the ordinary tests: many at once, the broker left alone."""
    points = faults.in_turn(
        (faults.strike_at(*CHECKPOINT_POINTS, at_once=4), len(CHECKPOINT_POINTS)),
        (faults.strike_in_recovery(*RECOVERY_POINTS, at_once=4), 8),
        (faults.kill_some(1), 2),
    )
    return [
        Row("kill -9 at points and at random", points, 1, is_static=True, is_trapped=True),
        Row(
            "kill -9 in rebalance",
            faults.strike_in_rebalance(*REBALANCE_POINTS, at_once=3),
            3,
            is_trapped=True,
        ),
    ]
