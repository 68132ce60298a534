"""Questions to the owner of a partition: answered from its state, which they do not change."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.engine.health import HealthServer
from streamapp.engine.members import CLIENT, Member, member_name, owners
from streamapp.engine.partition import PartitionTask
from streamapp.engine.questions import PROFILE_PATH, WHAT_IF_PATH, Questions
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import PARTITION_STATE_KEY, user_key
from streamapp.features.profile import ProfileError, seal
from streamapp.features.profile_view import view
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.owner import NewOwner, Owner
from tests.engine.records import records
from tests.engine.running import run_async
from tests.scoring.conftest import Traffic

SECRET = "between workers and API, 32 chars"
SCORED = 1_500


class _Partitions:
    """One partition at work, number 2; a lock stands for the batch that is scored."""

    def __init__(self, task: PartitionTask | None) -> None:
        self.turn = asyncio.Lock()
        self._task = task

    @asynccontextmanager
    async def between_batches(self, partition: int) -> AsyncIterator[PartitionTask | None]:
        """The task when its batch is done."""
        async with self.turn:
            yield self._task if partition == 2 else None


@asynccontextmanager
async def _served(partitions: _Partitions) -> AsyncIterator[Any]:
    """Ask a worker's server: path and content in, status and bytes out."""
    server = HealthServer("127.0.0.1", 0, lambda: None, Questions(partitions, SECRET).routes())
    port = await server.start()

    async def ask(path: str, content: Any, secret: str = SECRET) -> tuple[int, bytes]:
        url, headers = f"http://127.0.0.1:{port}{path}", {"Authorization": f"Bearer {secret}"}
        body = msgspec.json.encode(content)
        async with session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    try:
        async with aiohttp.ClientSession() as session:
            yield ask
    finally:
        await server.stop()


async def _fed(owner: Owner, traffic: Traffic, count: int = SCORED) -> None:
    await owner.score(records(traffic.keys[:count], traffic.values[:count]), 256)


def _plain(verdict: Verdict) -> dict[str, Any]:
    """What a what-if has in common with the verdict itself."""
    found: dict[str, Any] = msgspec.to_builtins(verdict)
    return {name: one for name, one in found.items() if name not in ("verdict_id", "source")}


def test_what_if_is_what_the_stream_says_next(
    owner: NewOwner, model: ModelArtifact, traffic: Traffic
) -> None:
    """Scores, features, reasons: all the same, for known users and new ones."""
    end = SCORED + 60
    undisturbed = Pipeline(model, topic="transactions", partition=2)
    told = list(undisturbed.process(traffic.keys[:end], traffic.values[:end]).payloads)
    assert end == len(told)

    async def work() -> None:
        asked = owner()
        await _fed(asked, traffic)
        for at in range(SCORED, end):
            key, value = traffic.keys[at] or b"", traffic.values[at] or b""
            [supposed, again] = [decode_verdict(_only(asked, key, value)) for _ in range(2)]
            assert supposed == again
            assert _plain(decode_verdict(told[at])) == _plain(supposed)
            assert (f"what-if-2-{at}", "what-if") == (supposed.verdict_id, supposed.source.topic)
            await asked.score(records([key], [value], at), 1)

    run_async(work())


def _only(asked: Owner, key: bytes, value: bytes) -> bytes:
    [payload] = asked.task.what_if(key, value).payloads
    return payload


def test_questions_change_nothing(owner: NewOwner, model: ModelArtifact, traffic: Traffic) -> None:
    """Profiles, trees, clock and output of a partition are those of one that nobody asked."""

    async def work() -> dict[bytes, bytes]:
        asked = owner()
        for at in range(0, SCORED, 100):
            keys, values = traffic.keys[at : at + 100], traffic.values[at : at + 100]
            await asked.score(records(keys, values, at), 100)
            for key, value in list(zip(keys, values, strict=True))[::9]:
                asked.task.what_if(key or b"", value or b"")
                assert asked.task.profile((key or b"").decode())
                assert asked.task.profile("nobody") is None
        await asked.task.checkpoint()
        return asked.state()

    undisturbed = Pipeline(model, topic="transactions", partition=2)
    undisturbed.process(traffic.keys[:SCORED], traffic.values[:SCORED])
    expected = {user_key(user): seal(image) for user, image in undisturbed.profiles.items()}
    expected[PARTITION_STATE_KEY] = undisturbed.state.to_bytes(model.half_space_trees)
    assert expected == run_async(work())


def test_the_profile_of_a_user(owner: NewOwner, traffic: Traffic) -> None:
    """From memory as from the store; none of a user never seen."""

    async def work() -> None:
        asked = owner()
        await _fed(asked, traffic)
        user = (traffic.keys[0] or b"").decode()
        expected = asked.task.profile(user)
        assert expected is not None
        own = [json.loads(v or b"") for k, v in zip(traffic.keys, traffic.values, strict=True)][
            :SCORED
        ]
        own = [one for one in own if one["user_id"] == user]
        seen = view(expected)
        assert len(own) == seen["events"] == seen["typical"]["event_count"]
        assert min(len(own), 12) == len(seen["recent"])
        await asked.task.checkpoint()
        asked.table._slot_of.clear()
        assert expected == asked.task.profile(user)

    run_async(work())


def test_a_damaged_profile_is_not_shown() -> None:
    """The bytes are verified before they are read."""
    with pytest.raises(ProfileError):
        view(bytes(1024))


def test_asked_over_http(owner: NewOwner, traffic: Traffic) -> None:
    """200, 204 for a user never seen, 422 as the dead letter would say, 421 where it has moved."""

    async def work() -> None:
        asked = owner()
        await _fed(asked, traffic)
        key, value = (traffic.keys[0] or b"").decode(), (traffic.values[SCORED] or b"").decode()
        buyer = (traffic.keys[SCORED] or b"").decode()
        async with _served(_Partitions(asked.task)) as ask:
            status, content = await ask(PROFILE_PATH, {"partition": 2, "user_id": key})
            assert (200, 2) == (status, json.loads(content)["partition"])
            assert (204, b"") == await ask(PROFILE_PATH, {"partition": 2, "user_id": "nobody"})
            assert 421 == (await ask(PROFILE_PATH, {"partition": 1, "user_id": key}))[0]
            payment = {"partition": 2, "user_id": buyer, "transaction": value}
            status, content = await ask(WHAT_IF_PATH, payment)
            assert (200, buyer) == (status, decode_verdict(content).user_id)
            status, content = await ask(WHAT_IF_PATH, {**payment, "user_id": "another"})
            assert (422, "key_mismatch") == (status, json.loads(content)["reason"])
            assert 400 == (await ask(WHAT_IF_PATH, {"partition": 2}))[0]
            assert 401 == (await ask(PROFILE_PATH, payment, secret="another"))[0]

    run_async(work())


def test_who_asks_waits_for_the_batch_but_not_for_ever(owner: NewOwner) -> None:
    """Beyond eight that wait, and after a second, the answer is to come again."""

    async def work() -> None:
        partitions = _Partitions(owner().task)
        question = PROFILE_PATH, {"partition": 2, "user_id": "u"}
        async with _served(partitions) as ask:
            await partitions.turn.acquire()
            waiting = [asyncio.ensure_future(ask(*question)) for _ in range(12)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {503} == {one.result()[0] for one in done}
            partitions.turn.release()
            found = [one.result()[0] for one in (await asyncio.wait(waiting))[0]]
            assert {204: 8, 503: 4} == {status: found.count(status) for status in set(found)}
            await partitions.turn.acquire()
            assert 503 == (await ask(*question))[0]

    run_async(work())


def test_not_many_a_second(owner: NewOwner) -> None:
    """A burst of a hundred, then as many a second."""

    async def work() -> None:
        async with _served(_Partitions(owner().task)) as ask:
            question = PROFILE_PATH, {"partition": 2, "user_id": "u"}
            found = [(await ask(*question))[0] for _ in range(400)]
            assert 204 == found[0]
            assert 503 in found

    run_async(work())


def test_nobody_may_ask_without_a_secret() -> None:
    """The routes are not there, and the worker says no address."""
    settings = WorkerSettings()
    assert CLIENT == member_name(settings, 6066)
    told = WorkerSettings(api_secret=SECRET)  # type: ignore[arg-type]
    assert CLIENT == member_name(told, None)
    assert f"{CLIENT}@@6066" == member_name(told, 6066)


def test_owners_are_read_from_the_group() -> None:
    """Host as the broker sees it, unless the worker names one; others say no address."""
    zero_and_three = b"\0\0\0\0\0\1\0\1t\0\0\0\2\0\0\0\0\0\0\0\3" + b"\xff\xff\xff\xff"
    one = zero_and_three.replace(b"\0\0\0\2\0\0\0\0\0\0\0\3", b"\0\0\0\1\0\0\0\1")
    other_topic = one.replace(b"t", b"x")
    members = [
        Member(f"{CLIENT}@@6066", "/10.0.0.7", zero_and_three),
        Member(f"{CLIENT}@::1@7000", "/10.0.0.8", one),
        Member(f"{CLIENT}@@9", "/10.0.0.9", b""),
        Member("faust", "/10.0.0.9", one.replace(b"\0\0\0\1\0\0\0\1", b"\0\0\0\1\0\0\0\2")),
        Member(f"{CLIENT}@@8", "/10.0.0.9", other_topic),
    ]
    first = "http://10.0.0.7:6066"
    assert {0: first, 3: first, 1: "http://[::1]:7000"} == owners(members, "t")
