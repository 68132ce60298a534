"""The engine between assignment and release, over partitions whose broker is in memory."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from streamapp.engine import engine as engine_module
from streamapp.engine.engine import Engine
from streamapp.engine.partition import Scorer
from streamapp.engine.recovery import RecoveryError
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import StateStore
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.policy import Policy
from tests.engine.fake_log import FakeBroker, FakeLog, Faults
from tests.engine.owner import OUTPUTS
from tests.engine.records import record, records
from tests.engine.running import run_async, until
from tests.scoring.conftest import Traffic

NewEngine = Callable[..., Engine]


@pytest.fixture
def faults() -> Faults:
    """What goes wrong at the brokers of all partitions."""
    return Faults()


@pytest.fixture
def brokers() -> dict[int, FakeBroker]:
    """What each partition's log has written."""
    return {}


@pytest.fixture
def new_engine(
    model: ModelArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    brokers: dict[int, FakeBroker],
    faults: Faults,
) -> NewEngine:
    """Makes engines whose partitions write to `brokers`; nothing is left to recover."""

    async def new_log(_engine: Engine, partition: int) -> FakeLog:
        broker = brokers.setdefault(partition, FakeBroker())
        return FakeLog(broker, faults, transactional=False)

    async def recover(*_: object, **_options: object) -> dict[int, RecoveryError]:
        """The stores are up to date."""
        return {}

    monkeypatch.setattr(Engine, "_new_log", new_log)
    monkeypatch.setattr(engine_module, "recover", recover)

    def build(**more: object) -> Engine:
        given = {"state_dir": tmp_path, "guarantee": "at_least_once", "shutdown_timeout_s": 1.0}
        settings = WorkerSettings.model_validate(given | more)
        scorer = Scorer(model, Policy(), OUTPUTS, 384)
        return Engine(settings, scorer, "transactions", "streamapp.state", {})

    return build


def test_a_batch_of_an_earlier_assignment_is_ignored(
    new_engine: NewEngine, brokers: dict[int, FakeBroker], traffic: Traffic
) -> None:
    """It will be read again by whoever has the partition now."""

    async def work() -> None:
        engine = new_engine()
        await engine.assign([0, 1], 7)
        found = records(traffic.keys[:3], traffic.values[:3])
        await engine.score(0, found, 6)
        await engine.score(2, found, 7)
        assert engine.position(0, None) is None
        await engine.score(0, found, 7)
        assert 3 == engine.position(0, None)
        assert {0: 3} == await engine.release()
        await engine.score(0, found, 7)

    run_async(work())
    assert {"verdicts"} == set(brokers[0].topics)
    assert 3 == len(brokers[0].topics["verdicts"])
    assert {} == brokers[1].topics


def test_partitions_are_given_back_clean(
    new_engine: NewEngine, tmp_path: Path, traffic: Traffic
) -> None:
    """Release makes a last checkpoint, says what may be committed, and frees the stores."""

    async def work() -> None:
        engine = new_engine()
        assert ((), False) == (engine.partitions, engine.is_ready)
        await engine.assign([2, 0], 1)
        assert ((0, 2), True) == (engine.partitions, engine.is_ready)
        await engine.score(2, records(traffic.keys[:4], traffic.values[:4]), 1)
        assert {2: 4} == await engine.release()
        assert ((), False) == (engine.partitions, engine.is_ready)

    run_async(work())
    for name in ("p00000", "p00002"):
        StateStore(tmp_path / name).close()


def test_a_failed_last_checkpoint_gives_back_what_is_durable(
    new_engine: NewEngine, faults: Faults, traffic: Traffic
) -> None:
    """The next owner does the rest again; the other partitions are not held up."""

    async def work() -> None:
        engine = new_engine()
        await engine.assign([0, 1], 1)
        found = records(traffic.keys[:4], traffic.values[:4])
        await engine.score(0, found, 1)
        await engine.score(1, found, 1)
        faults.fail_at("state")
        assert 1 == len(await engine.release())

    run_async(work())


@pytest.mark.parametrize(
    ("scored", "committed", "position"),
    [(0, None, None), (0, 0, None), (3, None, 3), (3, 0, 3), (3, 2, 3), (3, 3, 3)],
)
def test_a_partition_goes_on_after_its_state(
    new_engine: NewEngine,
    traffic: Traffic,
    scored: int,
    committed: int | None,
    position: int | None,
) -> None:
    """Whatever the group has committed before it."""

    async def work() -> None:
        engine = new_engine()
        await engine.assign([0], 1)
        await engine.score(0, records(traffic.keys[:scored], traffic.values[:scored]), 1)
        assert position == engine.position(0, committed)
        await engine.release()

    run_async(work())


@pytest.mark.parametrize(("scored", "committed"), [(0, 1), (3, 4)])
def test_state_behind_what_is_committed_is_refused(
    new_engine: NewEngine, traffic: Traffic, scored: int, committed: int
) -> None:
    """The changelog has lost records: going on would score against missing history.

    The partition is stopped, and the group's offset stays where it is.
    """

    async def work() -> None:
        engine = new_engine()
        await engine.assign([0], 1)
        await engine.score(0, records(traffic.keys[:scored], traffic.values[:scored]), 1)
        end = scored or None
        expected = rf"transactions\[0\] is committed up to {committed}, but the state ends at {end}"
        assert committed == engine.position(0, committed)
        assert engine.is_stopped(0)
        assert re.search(expected, engine.why_not_ready() or "")
        await engine.release()

    run_async(work())


def test_a_flood_of_refusals_stops_one_partition(
    new_engine: NewEngine, brokers: dict[int, FakeBroker], traffic: Traffic
) -> None:
    """It is not ready any more; the others go on, and its letters are kept.

    It stays stopped when it comes back after a rebalance.
    """

    async def work() -> None:
        engine = new_engine(dead_letter_run_max=4)
        await engine.assign([0, 1], 1)
        await engine.score(0, [record(offset, b"u", b"{") for offset in range(5)], 1)
        await engine.score(0, [record(5, b"u", b"{")], 1)
        await engine.score(1, records(traffic.keys[:4], traffic.values[:4]), 1)
        assert (engine.why_not_ready() or "").startswith("partition 0 stopped: more than 4 record")
        assert engine.failure is None
        assert {0: 5, 1: 4} == await engine.release()
        await engine.assign([0, 1], 2)
        await engine.score(0, [record(6, b"u", b"{")], 2)
        assert ((1,), False, True) == (engine.partitions, engine.is_ready, engine.is_stopped(0))
        await engine.release()
        await engine.assign([1], 3)
        assert engine.is_ready, "the partition is another worker's now"
        await engine.release()

    run_async(work())
    assert 5 == len(brokers[0].topics["dlq"])


def test_a_failed_checkpoint_fails_the_engine(
    new_engine: NewEngine, faults: Faults, traffic: Traffic
) -> None:
    """And it is the only one: nothing moves on from a commit whose fate is unknown."""

    async def work() -> None:
        engine = new_engine(checkpoint_interval_ms=1)
        await engine.assign([0], 1)
        await engine.score(0, records(traffic.keys[:4], traffic.values[:4]), 1)
        faults.fail_at("confirm")
        engine.tick()
        await until(lambda: engine.failure is not None)
        assert "failed at confirm" == str(engine.failure)
        assert not engine.is_ready
        loop = asyncio.get_running_loop()
        failed_s = loop.time()
        await until(lambda: loop.time() - failed_s > 0.001)
        engine.tick()
        for _ in range(20):
            await asyncio.sleep(0)
        assert {} == engine.committable()

    run_async(work())


def test_a_rest_starts_checkpoints_but_not_twice_in_half_an_interval(
    new_engine: NewEngine, brokers: dict[int, FakeBroker], traffic: Traffic
) -> None:
    """Small batches often come with little between them, and each checkpoint has its price."""

    async def work() -> None:
        engine = new_engine(checkpoint_interval_ms=60_000)
        await engine.assign([0], 1)
        for start in (0, 4):
            rows = slice(start, start + 4)
            await engine.score(0, records(traffic.keys[rows], traffic.values[rows], start), 1)
            engine.tick(at_once=True)
            for _ in range(100):
                await asyncio.sleep(0)
        assert {0: 4} == engine.committable()
        await engine.release()

    run_async(work())


def test_ticks_commit_what_moved_once(new_engine: NewEngine, traffic: Traffic) -> None:
    """Offsets are told to the group when they moved, and not again."""

    async def work() -> None:
        engine = new_engine()
        await engine.assign([0, 1], 1)
        await engine.score(1, records(traffic.keys[:4], traffic.values[:4]), 1)
        assert {} == engine.committable()
        engine.tick()
        moved: dict[int, int] = {}

        def has_moved() -> bool:
            moved.update(engine.committable())
            return bool(moved)

        await until(has_moved)
        assert {1: 4} == moved
        assert {} == engine.committable()
        await engine.release()

    run_async(work())


def test_standing_still_too_long_is_a_failure(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records wait and nothing moves: the worker ends, to be started again. Idle is no failure."""
    now = [100.0]

    async def work() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
        engine = new_engine(stall_timeout_s=5)
        await engine.assign([0], 1)
        now[0] += 60
        engine.watch({0: 0})
        assert engine.failure is None
        now[0] += 4
        engine.watch({0: 9})
        assert engine.failure is None
        now[0] += 2
        engine.watch({0: 9})
        assert "records wait but no offset has moved for 5 s" == str(engine.failure)

    asyncio.run(work())


def test_between_assignments_the_group_is_believed(new_engine: NewEngine, traffic: Traffic) -> None:
    """Faust asks while partitions are on their way: nobody's state has lost anything then."""

    async def work() -> None:
        engine = new_engine()
        assert 3 == engine.position(0, 3)
        await engine.assign([0], 1)
        await engine.score(0, records(traffic.keys[:3], traffic.values[:3]), 1)
        await engine.release()
        assert 7 == engine.position(0, 7)

    run_async(work())
