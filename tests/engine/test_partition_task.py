"""A partition's checkpoint: its order, its failures, and its end."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamapp.engine.outbox import LogError
from streamapp.engine.store import PARTITION_STATE_KEY, StateStore
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.fake_log import FakeBroker, Point
from tests.engine.owner import NewOwner, Owner
from tests.engine.records import records
from tests.engine.running import run_async, until
from tests.scoring.conftest import Traffic

#: Every place where a checkpoint can fail once its outputs were sent.
COMMIT_POINTS: tuple[Point, ...] = ("confirm", "state", "answer", "store")


def test_output_is_confirmed_before_state_and_state_before_the_store(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """And only then may the group see the offset."""

    async def work() -> None:
        one = owner()
        await one.score(records(traffic.keys[:5], traffic.values[:5]), 5)
        held = one.faults.hold_at("answer")
        running = one.task.start_checkpoint()
        assert running is not None
        await until(lambda: "state" in broker.trace)
        assert [] == [*one.store.items()]
        assert (5, None) == (one.task.position, one.task.committable)
        held.set()
        await running
        assert 5 == one.task.committable

    run_async(work())
    assert ["append verdicts", "confirmed", "state", "store"] == broker.trace
    assert 5 == broker.committed


def test_a_checkpoint_without_news_writes_nothing(owner: NewOwner, broker: FakeBroker) -> None:
    """An idle partition costs nothing."""

    async def work() -> None:
        one = owner()
        assert one.task.start_checkpoint() is None
        await one.task.checkpoint()
        await one.task.close(1.0)

    run_async(work())
    assert ["closed"] == broker.trace


def test_the_store_is_written_once_for_several_checkpoints(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """Each is durable without; users in between are read from memory, though few fit there."""

    async def work() -> None:
        one = owner(checkpoints_written_max=3, cache_profiles_max=2)
        found = records(traffic.keys[:9], traffic.values[:9])
        for at, writes in ((0, 0), (3, 0), (6, 1)):
            await one.score(found[at : at + 3], 3)
            await one.task.checkpoint()
            assert (at + 3, writes) == (one.task.committable, broker.trace.count("store"))
        assert dict(broker.changelog) == one.state()

    run_async(work())


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_store_that_is_behind_catches_up_when_nothing_is_new(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic, is_closed: bool
) -> None:
    """At the next checkpoint's time, or at the end."""

    async def work() -> None:
        one = owner(checkpoints_written_max=3)
        await one.score(records(traffic.keys[:3], traffic.values[:3]), 3)
        await one.task.checkpoint()
        assert {} == one.state()
        if is_closed:
            await one.task.close(1.0)
        else:
            running = one.task.start_checkpoint()
            assert running is not None
            await running
            assert dict(broker.changelog) == one.state()
            assert one.task.start_checkpoint() is None

    run_async(work())
    assert 1 == broker.trace.count("store")


def test_another_model_keeps_position_and_profiles(
    broker: FakeBroker, model: ModelArtifact, traffic: Traffic, tmp_path: Path
) -> None:
    """Only what its trees had learned begins anew, and the log says so."""

    async def work() -> None:
        one = Owner(tmp_path / "p", broker, model)
        await one.score(records(traffic.keys[:5], traffic.values[:5]), 5)
        await one.task.close(1.0)
        profiles = {key: image for key, image in broker.changelog if key != PARTITION_STATE_KEY}
        another = replace(model, global_amount_limit=1.0)
        with capture_logs() as logged:
            two = Owner(tmp_path / "p", broker, another)
        said = {key: logged[0][key] for key in ("event", "learned_by", "model")}
        expected = {"learned_by": model.version, "model": another.version}
        assert {"event": "half_space_trees_began_anew", **expected} == said
        assert 5 == two.task.position
        assert profiles == {k: v for k, v in two.store.items() if k != PARTITION_STATE_KEY}
        two.store.close()

    run_async(work())


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_failed_checkpoint_moves_nothing(owner: NewOwner, traffic: Traffic, point: Point) -> None:
    """The failure is raised; neither store nor committable offset have moved."""

    async def work() -> None:
        one = owner()
        await one.score(records(traffic.keys[:5], traffic.values[:5]), 5)
        one.faults.fail_at(point)
        with pytest.raises(LogError, match=f"failed at {point}"):
            await one.task.checkpoint()
        assert (None, {}) == (one.task.committable, one.state())

    run_async(work())


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_after_a_failed_checkpoint_there_is_no_other(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic, point: Point, transactional: bool
) -> None:
    """Its outputs may be lost and its profiles are no longer marked as changed: a later checkpoint
    would move the position past both."""

    async def work() -> None:
        one = owner(transactional=transactional)
        await one.score(records(traffic.keys[:5], traffic.values[:5]), 5)
        one.faults.fail_at(point)
        with pytest.raises(LogError):
            await one.task.checkpoint()
        appended = len(broker.changelog)
        with pytest.raises(LogError):
            await one.task.checkpoint()
        with pytest.raises(LogError):
            await one.task.close(1.0)
        assert appended == len(broker.changelog)
        assert one.task.committable is None

    run_async(work())


def test_redelivered_records_are_passed_over(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """Whole batches and parts of one: each record has one verdict."""

    async def work() -> None:
        one = owner()
        found = records(traffic.keys[:9], traffic.values[:9])
        for start, end in ((0, 4), (0, 4), (2, 6), (5, 9), (1, 2)):
            await one.task.score(found[start:end])
        await one.task.checkpoint()

    run_async(work())
    assert 9 == len(broker.topics["verdicts"])
    assert len({payload for _, payload, _ in broker.topics["verdicts"]}) == 9


def test_what_is_done_is_passed_over_by_the_next_owner(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """The position comes from the state, not from where the reader starts again."""
    found = records(traffic.keys[:9], traffic.values[:9])

    async def first() -> None:
        one = owner()
        await one.score(found[:6], 3)
        await one.task.close(1.0)

    async def second() -> None:
        one = owner()
        assert (6, 6) == (one.task.position, one.task.committable)
        await one.score(found, 4)
        await one.task.close(1.0)

    run_async(first())
    run_async(second())
    assert 9 == len(broker.topics["verdicts"])


def test_one_checkpoint_at_a_time(owner: NewOwner, broker: FakeBroker, traffic: Traffic) -> None:
    """Asked again while one runs, it is the same one; scoring goes on beside it."""

    async def work() -> None:
        one = owner()
        await one.score(records(traffic.keys[:5], traffic.values[:5]), 5)
        held = one.faults.hold_at("confirm")
        running = one.task.start_checkpoint()
        await until(lambda: one.faults.visits["confirm"] == 1)
        await one.score(records(traffic.keys[5:8], traffic.values[5:8], 5), 3)
        assert running is one.task.start_checkpoint()
        assert not one.task.is_clean
        held.set()
        assert running is not None
        await running
        assert (8, 5) == (one.task.position, one.task.committable)
        await one.task.checkpoint()
        assert 8 == one.task.committable

    run_async(work())
    assert 2 == broker.trace.count("store")


def test_a_checkpoint_never_holds_half_a_batch(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """Begun while a batch's output is being sent, it waits for the rest of it."""

    async def work() -> None:
        one = owner()
        await one.score(records(traffic.keys[:3], traffic.values[:3]), 3)
        held = one.faults.hold_at("append", visit=2)
        scoring = asyncio.ensure_future(
            one.task.score(records(traffic.keys[3:6], traffic.values[3:6], 3))
        )
        await until(lambda: one.faults.visits["append"] == 2)
        running = one.task.start_checkpoint()
        for _ in range(10):
            await asyncio.sleep(0)
        assert 0 == one.faults.visits["confirm"]
        held.set()
        await scoring
        assert running is not None
        await running
        assert 6 == one.task.committable

    run_async(work())
    assert 6 == len(broker.topics["verdicts"])


def test_too_many_changed_profiles_force_a_checkpoint(
    owner: NewOwner, broker: FakeBroker, traffic: Traffic
) -> None:
    """So that a checkpoint's state fits one record batch."""

    async def work() -> None:
        one = owner(checkpoint_profiles_max=3)
        for start in range(0, 40, 4):
            part = slice(start, start + 4)
            await one.score(records(traffic.keys[part], traffic.values[part], start), 4)
            assert one.table.changed < 3 + 4
        assert one.task.committable is not None

    run_async(work())
    assert broker.trace.count("store") >= 5


def test_scoring_goes_on_while_what_has_changed_is_committed(
    owner: NewOwner, traffic: Traffic
) -> None:
    """Until as much has changed again: then it waits for the commit."""

    async def work() -> None:
        one = owner(checkpoint_profiles_max=3)
        gate = one.faults.hold_at("confirm")
        await one.score(records(traffic.keys[:8], traffic.values[:8]), 4)
        assert one.task.committable is None
        waiting = asyncio.ensure_future(
            one.score(records(traffic.keys[8:12], traffic.values[8:12], 8), 4)
        )
        for _ in range(100):
            await asyncio.sleep(0)
        assert 8 == one.task.position
        gate.set()
        await waiting
        assert 12 == one.task.position

    run_async(work())


@pytest.mark.parametrize("point", ["append", "confirm", "state", "answer"])
def test_close_keeps_its_time_when_the_broker_hangs(
    owner: NewOwner, traffic: Traffic, tmp_path: Path, point: Point
) -> None:
    """The store is free for the next owner, whatever the broker never answered."""

    async def work() -> float:
        one = owner()
        await one.score(records(traffic.keys[:3], traffic.values[:3]), 3)
        one.faults.hold_at(point, visit=one.faults.visits[point] + 1)
        scoring = asyncio.ensure_future(
            one.task.score(records(traffic.keys[3:6], traffic.values[3:6], 3))
        )
        await asyncio.sleep(0)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await one.task.close(0.2)
        elapsed = time.monotonic() - started
        scoring.cancel()
        return elapsed

    assert run_async(work()) < 1.0
    StateStore(tmp_path / "p").close()


def test_close_keeps_its_time_when_the_log_hangs(
    owner: NewOwner, traffic: Traffic, tmp_path: Path
) -> None:
    """A producer that does not stop takes no longer than the rest."""

    async def work() -> float:
        one = owner()
        await one.score(records(traffic.keys[:3], traffic.values[:3]), 3)
        one.log.close_gate = asyncio.Event()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.task.close(0.2), 5.0)
        return time.monotonic() - started

    assert run_async(work()) < 1.0
    StateStore(tmp_path / "p").close()


def test_close_releases_the_store_when_the_log_fails(
    owner: NewOwner, traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the producer ends with an error, the next owner finds the directory free."""

    async def work() -> None:
        one = owner()
        await one.score(records(traffic.keys[:3], traffic.values[:3]), 3)

        async def fail() -> None:
            raise LogError("the broker refused")

        monkeypatch.setattr(one.log, "close", fail)
        with pytest.raises(LogError):
            await one.task.close(1.0)

    run_async(work())
    StateStore(tmp_path / "p").close()
