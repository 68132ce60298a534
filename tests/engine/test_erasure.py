"""An erasure in the engine: gone from memory, changelog and disk, told to readers of verdicts."""

import random
from pathlib import Path

from streamapp.domain.erasure import erasure
from streamapp.engine.late_state import BEGINS_ANEW, LateState
from streamapp.engine.store import PARTITION_STATE_KEY, StateStore, user_key
from streamapp.engine.tombstone import erased_at
from tests.engine.fake_log import FakeBroker
from tests.engine.owner import NewOwner
from tests.engine.records import record, records
from tests.engine.running import run_async, until
from tests.engine.test_settlement import TOPICS, found, profile, settled, state, verdict
from tests.engine.test_settlement import record as stands
from tests.scoring.conftest import Traffic

SCORED = 200


def test_erased_everywhere(owner: NewOwner, broker: FakeBroker, traffic: Traffic) -> None:
    """A tombstone among verdicts, one in the changelog; the next owner knows nothing either."""
    key = traffic.keys[SCORED - 1] or b""
    user = key.decode()

    async def work() -> None:
        first = owner()
        await first.score(records(traffic.keys[:SCORED], traffic.values[:SCORED]), 64)
        await first.task.checkpoint()
        assert user_key(user) in first.state()
        await first.score([record(SCORED, key, erasure(user))], 1)
        assert first.task.profile(user) is None
        await first.task.checkpoint()
        assert user_key(user) not in first.state()
        assert key not in first.table._slot_of
        assert (user_key(user), None) in broker.changelog
        last_key, last_value, headers = broker.topics["verdicts"][-1]
        assert (key, None) == (last_key, last_value)
        assert ("transactions", SCORED) == erased_at(headers)  # type: ignore[arg-type]
        first.die()
        second = owner()
        assert second.task.profile(user) is None
        again = records([key], [traffic.values[SCORED - 1]], SCORED + 1)
        await second.score(again, 1)
        await second.task.checkpoint()
        assert user_key(user) in second.state()

    run_async(work())


def test_a_user_who_is_back_before_the_checkpoint(owner: NewOwner, traffic: Traffic) -> None:
    """Has a profile that began anew, in the same checkpoint as the erasure or the next."""
    key, value = traffic.keys[0] or b"", traffic.values[0]

    async def work() -> None:
        one = owner()
        await one.score(records([key], [value]), 1)
        await one.score([record(1, key, erasure(key.decode())), record(2, key, value)], 2)
        gate = one.faults.hold_at("state")
        running = one.task.start_checkpoint()
        assert running is not None
        await until(lambda: one.faults.visits["state"] == 1)
        await one.score([record(3, key, erasure(key.decode()))], 1)
        gate.set()
        await running
        assert user_key(key.decode()) in one.state()
        await one.task.checkpoint()
        assert user_key(key.decode()) not in one.state()

    run_async(work())


def test_no_byte_is_left_on_the_disk(tmp_path: Path) -> None:
    """Not in tables, logs or manifest: neither the user's name nor the profile."""
    store = StateStore(tmp_path / "p")
    draw = random.Random(1)
    # Neither shares a beginning with another nor can be compressed, so that it can be found.
    users = sorted(draw.randbytes(16).hex() for _ in range(400))
    images = [draw.randbytes(1024) for _ in users]
    store.write(zip(map(user_key, users), images, strict=True), 400)
    gone = {0, 7, 200, 399}  # the first and last key of a table are named elsewhere, too
    assert set(range(400)) == _left(tmp_path, users, images)
    assert not store.is_purge_due
    store.write([(user_key(users[n]), None) for n in gone], 500)
    store.close()
    store = StateStore(tmp_path / "p")
    assert store.is_purge_due
    assert gone <= _left(tmp_path, users, images)
    store.purge()
    assert not store.is_purge_due
    kept = set(range(400)) - gone
    assert kept == _left(tmp_path, users, images)
    assert {user_key(users[n]): images[n] for n in kept} == dict(store.items())
    store.close()
    assert kept == _left(tmp_path, users, images)
    store = StateStore(tmp_path / "p")
    assert (False, 500) == (store.is_purge_due, store.changelog_offset)
    store.close()


def _left(directory: Path, users: list[str], images: list[bytes]) -> set[int]:
    """Users of whom a part of name or profile stands in a file; of names also in hexadecimal."""
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    found = set()
    for n, (user, stored) in enumerate(zip(users, images, strict=True)):
        name = user.encode()[-12:]
        signs = (name, name.hex().encode(), name.hex().upper().encode(), stored[100:120])
        if any(sign in content for content in files for sign in signs):
            found.add(n)
    return found


def test_a_worker_clears_its_disk_by_itself(owner: NewOwner, traffic: Traffic) -> None:
    """Once at a time, and not at once again."""

    async def work() -> None:
        one = owner()
        key, value = traffic.keys[0] or b"", traffic.values[0]
        await one.score([record(0, key, value), record(1, key, erasure(key.decode()))], 2)
        assert one.task.start_purge() is None
        await one.task.checkpoint()
        purge = one.task.start_purge()
        assert purge is not None
        assert one.task.start_purge() is None
        await purge
        assert not one.store.is_purge_due
        await one.score([record(2, key, value), record(3, key, erasure(key.decode()))], 2)
        await one.task.checkpoint()
        assert one.store.is_purge_due
        assert one.task.start_purge() is None  # so soon

    run_async(work())


def test_an_erasure_that_hangs_is_settled() -> None:
    """It is written again with the state it belongs to, and told to readers where it was not."""
    told = stands(
        "verdicts",
        None,
        headers=[("schema", b"erasure/1"), ("erasure.topic", b"in"), ("erasure.offset", b"6")],
    )
    gone = stands("state", None, key=user_key("a"), headers=[("source_offset", b"6")], at=2)
    later = [profile("a", 9, at=4), state(9, at=5)]
    tail = [profile("a", 5, at=1), gone, state(6, at=3), *later]
    offset, _, keys = found(settled([told, state(4)], tail))
    assert (6, [user_key("a")]) == (offset, keys[:1])
    settlement = settled([told, state(4)], tail)
    assert settlement is not None
    assert (user_key("a"), None) == settlement.state[0]
    hanging = settled([verdict(4), state(6)], [told])
    assert hanging is not None
    assert [(b"u", None)] == [(key, value) for key, value, _ in hanging.outputs["verdicts"]]
    assert TOPICS.outputs[0] == told.topic


def _sealed(offset: int) -> bytes:
    value = profile("a", offset).value
    assert isinstance(value, bytes)
    return value


def test_nothing_late_brings_a_user_back(tmp_path: Path) -> None:
    """Where nothing fences: a profile older than the erasure is passed over, a newer one is not."""
    store = StateStore(tmp_path / "p")
    late = LateState(store)
    key, older, newer = user_key("a"), _sealed(5), _sealed(8)
    store.write([(key, older)], 1)
    assert [(key, None, 6)] == late.without_late([(key, None, 6), (key, older, 5)])
    store.write([(key, None)], 2)
    assert [] == late.without_late([(key, older, 5)])
    assert [(key, newer, 8)] == late.without_late([(key, newer, 8)])
    store.write([(key, newer)], 3)
    assert [] == late.without_late([(key, None, 6)])
    assert [(key, None, BEGINS_ANEW)] == late.without_late([(key, None, BEGINS_ANEW)])
    store.close()


def test_nothing_late_brings_a_user_back_whom_the_store_had_forgotten(tmp_path: Path) -> None:
    """The tombstone was applied before: the store had everything up to the state it holds."""
    store = StateStore(tmp_path / "p")
    image = state(6).value
    assert image is not None
    store.write([(PARTITION_STATE_KEY, image)], 2)
    key, older, newer = user_key("a"), _sealed(5), _sealed(7)
    late = LateState(store)
    assert [] == late.without_late([(key, older, 5)])
    assert [(key, newer, 7)] == late.without_late([(key, newer, 7)])
    late = LateState(store)
    late.begin_anew(key)
    assert [(key, older, 5)] == late.without_late([(key, older, 5)])
    anew = [(PARTITION_STATE_KEY, None, BEGINS_ANEW), (key, older, 5)]
    assert anew == LateState(store).without_late(anew)
    store.close()
