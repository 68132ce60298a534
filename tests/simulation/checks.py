"""Whether a run kept its promises, judged from the broker and the disks alone.

Written apart from the engine: nothing of its checkpoint, log or recovery is used here.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from aiokafka.structs import ConsumerRecord

from streamapp.domain.verdict import SEVERITIES
from tests.simulation.broker import Broker
from tests.simulation.faults import Guarantee
from tests.simulation.topic_log import Message
from tests.simulation.worker import CHANGELOG, OUTPUTS, SOURCE
from tests.simulation.workload import Truth

_CARRIED: Final = ("traceparent", "tracestate", "sent_at")

Outcome = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def broken_promises(
    broker: Broker,
    group: str,
    guarantee: Guarantee,
    partition: int,
    messages: Sequence[Message],
    truth: Truth,
    store: dict[bytes, bytes],
) -> list[str]:
    """Everything about a partition that is not as it must be; empty is well."""
    place = f"[{partition}]"
    found = [
        *_wrong_outputs(broker, guarantee, partition, messages, truth),
        *_wrong_state(f"store{place}", store, truth.state),
        *_wrong_state(f"changelog{place}", rebuilt(broker, guarantee, partition), truth.state),
        *_wrong_offsets(broker, group, partition, len(messages)),
    ]
    return [f"{SOURCE}{place}: {one}" for one in found]


def rebuilt(broker: Broker, guarantee: Guarantee, partition: int) -> dict[bytes, bytes]:
    """State by the changelog alone: the last value of each key a committed reader sees.

    At-least-once the newest one, by the source offset that profiles and state hold at byte 8, and
    tombstones in a header.
    """
    state: dict[bytes, ConsumerRecord] = {}
    for record in broker.log(CHANGELOG, partition).committed():
        assert record.key is not None
        before = state.get(record.key)
        if guarantee == "exactly_once" or before is None or _age(record) >= _age(before):
            state[record.key] = record
    return {key: record.value for key, record in state.items() if record.value is not None}


def _age(record: ConsumerRecord) -> int:
    if record.value is None:
        return int(dict(record.headers)["source_offset"])
    return int.from_bytes(record.value[8:16], "little", signed=True)


def _wrong_outputs(
    broker: Broker,
    guarantee: Guarantee,
    partition: int,
    messages: Sequence[Message],
    truth: Truth,
) -> Iterable[str]:
    verdicts = {
        at: _verdict(messages[at], payload, truth.severities[at])
        for at, payload in truth.verdicts.items()
    }
    anomalies = {at: verdicts[at] for at in truth.anomalies()}
    dead = {
        at: (letter.key, letter.value, (*messages[at][2], *letter.headers()))
        for at, letter in truth.dead_letters.items()
    }
    tombstones = {at: _tombstone(partition, at, messages[at]) for at in truth.erased}
    assert set(range(len(messages))) == verdicts.keys() | dead.keys() | tombstones.keys()
    assert len(messages) == len(verdicts) + len(dead) + len(tombstones)
    for topic, expected in (
        (OUTPUTS.verdicts, verdicts | tombstones),
        (OUTPUTS.anomalies, anomalies),
        (OUTPUTS.dead_letters, dead),
    ):
        records = broker.log(topic, partition).committed()
        may_repeat = guarantee == "at_least_once"
        yield from _wrong_copies(topic, records, expected, may_repeat=may_repeat)


def _verdict(message: Message, payload: bytes, severity: int) -> Outcome:
    carried = tuple(one for one in message[2] if one[0] in _CARRIED)
    named = (("schema", b"verdict/1"), ("severity", SEVERITIES[severity].encode()))
    return message[0], payload, (*named, *carried)


def _tombstone(partition: int, at: int, message: Message) -> Outcome:
    place = {"topic": SOURCE, "partition": partition, "offset": at}
    named = tuple((f"erasure.{name}", str(one).encode()) for name, one in place.items())
    return message[0], None, (("schema", b"erasure/1"), *named)


def _wrong_copies(
    topic: str,
    records: Sequence[ConsumerRecord],
    expected: dict[int, Outcome],
    *,
    may_repeat: bool,
) -> Iterable[str]:
    copies: defaultdict[int, list[Outcome]] = defaultdict(list)
    first_seen: list[int] = []
    for record in records:
        at = _source_offset(record)
        if at not in copies:
            first_seen.append(at)
        copies[at].append((record.key, record.value, tuple(record.headers)))
    if missing := sorted(expected.keys() - copies.keys()):
        yield f"{topic}: nothing for offsets {missing}"
    if foreign := sorted(copies.keys() - expected.keys()):
        yield f"{topic}: something for offsets {foreign}, which should have nothing"
    if repeated := sorted(at for at, found in copies.items() if len(found) > 1 and not may_repeat):
        yield f"{topic}: more than one for offsets {repeated}"
    if wrong := sorted(
        at for at, found in copies.items() if at in expected and set(found) != {expected[at]}
    ):
        yield f"{topic}: other bytes than undisturbed for offsets {wrong}"
    if first_seen != sorted(first_seen):
        yield f"{topic}: out of order"


def _source_offset(record: ConsumerRecord) -> int:
    headers = dict(record.headers)
    if "dlq.offset" in headers:
        return int(headers["dlq.offset"])
    if "erasure.offset" in headers:
        return int(headers["erasure.offset"])
    assert record.value is not None
    return int(json.loads(record.value)["source"]["offset"])


def _wrong_state(
    where: str, found: dict[bytes, bytes], expected: dict[bytes, bytes]
) -> Iterable[str]:
    differing = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if differing:
        yield f"{where}: differs from undisturbed for {[key.decode() for key in differing]}"


def _wrong_offsets(broker: Broker, group: str, partition: int, end: int) -> Iterable[str]:
    history = broker.offset_history[group, SOURCE, partition]
    if history != sorted(history):
        yield f"committed offsets went back: {history}"
    if end and (not history or history[-1] != end):
        yield f"committed offset ends at {history[-1] if history else None}, the topic at {end}"
