"""Reference data taken over by running workers: a verdict can be made again from what it names."""

from collections import defaultdict
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from confluent_kafka import Message
from typer.testing import CliRunner

from streamapp.broker.waiting import wait_until
from streamapp.cli import labels, severity
from streamapp.cli.settings import Settings
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.engine import metrics
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.features.risk_windows import RiskTable
from streamapp.kafka.control import (
    CUTOFFS_KEY,
    RISK_WINDOWS_KEY,
    ControlFollower,
    announced_version,
    publish_risk_windows,
)
from streamapp.lifecycle import topic_tally
from streamapp.lifecycle.topic_tally import TopicTally, add, decided
from streamapp.scoring.artifact import ModelArtifact, save
from streamapp.scoring.partition_state import PartitionState, stored_cutoffs, stored_risk_windows
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk_version import RiskVersion, to_bytes
from streamapp.scoring.severity_budget import Cutoffs, Tally
from streamapp.scoring.verdicts import SourcePartition
from tests.engine.deployment import Deployment, Found
from tests.engine.worker_process import WorkerProcess
from tests.kafka.records import read_all

pytestmark = pytest.mark.integration

#: Risk windows and cut-offs.
Named = tuple[str | None, str | None]

RATE_PER_S = 800.0
#: Of the sample: the model's windows are of the day of its row 5,000.
FIRST_ROWS, LATER_ROWS = 7_000, 14_000


class Room:
    """Two workers' settings, and versions of the windows published to them."""

    def __init__(self, deployment: Deployment, fed: ModelArtifact, directory: Path) -> None:
        assert fed.supervised is not None
        self.deployment, self.fed, self.own = deployment, fed, fed.supervised.table
        self.windows, self.model = directory / "windows", directory / "model"
        self.windows.mkdir()
        self.versions: dict[str | None, RiskVersion | None] = {None: None}
        self.cutoffs: list[str] = []
        save(fed, self.model)
        deployment.make_topics()

    @cached_property
    def tally(self) -> TopicTally:
        """The one that goes on all along, from when the topics have leaders."""
        return self.new_tally()

    def new_tally(self) -> TopicTally:
        """As the command has it."""
        name = self.deployment.topics.name
        return TopicTally(self.deployment.kafka, name("verdicts"), name("control"))

    def worker(self, state: str) -> WorkerProcess:
        """In small batches, so that a kill falls into the midst of one checkpoint or another."""
        return self.deployment.worker(
            state, model_dir=self.model, risk_windows_dir=self.windows, batch_records_max=16
        )

    def publish(self, days_later: int, factor: float) -> str:
        """Windows that hold so many days after the model's own, with other values."""
        values = tuple(one * factor for one in self.own.values)
        made = RiskVersion.of(RiskTable(self.own.day + days_later, self.own.names, values))
        self.versions[made.version] = made
        (self.windows / made.version).write_bytes(to_bytes(made.table))
        topic = self.deployment.topics.name("control")
        publish_risk_windows(self.deployment.kafka, topic, made.version)
        return made.version

    def published(
        self, monkeypatch: pytest.MonkeyPatch, command: ModuleType, *, to_tell: int
    ) -> str:
        """By the command, of what stands in the topics; so many words that it tells."""
        worker = WorkerSettings(model_dir=self.model, risk_windows_dir=self.windows)
        settings = Settings(
            kafka=self.deployment.kafka, topics=self.deployment.topics, worker=worker
        )
        monkeypatch.setattr(command, "load_settings", lambda _file: settings)
        result = CliRunner().invoke(command.app, ["publish"])
        assert 0 == result.exit_code, result.output
        return " ".join(result.stdout.split()[:to_tell])

    def await_outputs(self, rows: int) -> None:
        """And have cut-offs follow what is decided meanwhile."""

        def have_come() -> bool:
            made = self.tally.advance()
            self.cutoffs += [made.name] if made else []
            return self.deployment.output_offsets() >= rows

        assert wait_until(have_come, 120)

    def replayed(
        self, taken: dict[int, dict[int, Named]]
    ) -> tuple[dict[str, set[bytes]], dict[int, bytes]]:
        """Verdicts made again, each record by the windows its verdict names; and the states."""
        source = self.deployment.topics.name("transactions")
        found: dict[str, set[bytes]] = {}
        states: dict[int, bytes] = {}
        messages = {(one.partition(), one.offset()): one for one in self.read(source)}
        for partition, by_offset in taken.items():
            state = PartitionState.initial(self.fed.version, self.fed.half_space_trees)
            profiles = MemoryProfiles()
            before: Named = (None, None)
            for named, group in groupby(sorted(by_offset), key=by_offset.__getitem__):
                offsets = list(group)
                batch = [messages[partition, offset] for offset in offsets]
                keys, values = [one.key() for one in batch], [one.value() for one in batch]
                records = Records(SourcePartition(source, partition), keys, values, offsets)
                state.source_offset = offsets[0] - 1
                windows, cutoffs = named
                if windows is not None and windows != before[0]:
                    state.take_over(windows)
                if cutoffs is not None and cutoffs != before[1]:
                    state.take_cutoffs_over(cutoffs)
                before = named
                policy = Policy() if cutoffs is None else Policy().steered(Cutoffs.named(cutoffs))
                made = self.versions[windows]
                scored = process(records, profiles, state, self.fed, policy, made)
                for offset, payload in zip(offsets, scored.payloads, strict=True):
                    found[f"{source}-{partition}-{offset}"] = {payload}
            states[partition] = state.to_bytes(self.fed.half_space_trees)
        return found, states

    def read(self, topic: str) -> list[Message]:
        return read_all(self.deployment.kafka, topic)


def versions_taken(found: Found) -> dict[int, dict[int, Named]]:
    """Of each partition, by offset: the windows and cut-offs its verdict names."""
    taken: dict[int, dict[int, Named]] = defaultdict(dict)
    for [payload] in found.verdicts.values():
        verdict: Verdict = decode_verdict(payload)
        named = verdict.versions.risk_windows, verdict.versions.cutoffs
        taken[verdict.source.partition][verdict.source.offset] = named
    return taken


def test_windows_are_taken_over_amid_a_kill(
    deployment: Deployment,
    fed: ModelArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two versions published while two workers score and one is killed: each record has one
    verdict, a partition never goes back to older windows or cut-offs, a replay gives the same
    bytes. Without their file the partitions stop; the commands publish what workers can read."""
    monkeypatch.setattr(topic_tally, "_STEP_RECORDS", 1_000)
    room = Room(deployment, fed, tmp_path)
    first, second = room.worker("first"), room.worker("second")
    for worker in (first, second):
        worker.await_ready()
    with deployment.load(RATE_PER_S) as sent:
        earlier = room.publish(1, 0.5)
        room.await_outputs(FIRST_ROWS)
        second.kill()
        later = room.publish(8, 0.25)
        second = room.worker("second")
        room.await_outputs(LATER_ROWS)
    found = deployment.found(*sent)
    assert (0, 0) == (found.repeated_verdicts, found.differing)
    taken = versions_taken(found)
    order = [None, earlier, later]
    for by_offset in taken.values():
        ranks = [order.index(by_offset[offset][0]) for offset in sorted(by_offset)]
        assert sorted(ranks) == ranks
        assert {0, 1, 2} == {*ranks}
        steered = [None, *room.cutoffs]
        ranks = [steered.index(by_offset[offset][1]) for offset in sorted(by_offset)]
        assert sorted(ranks) == ranks
        assert len({*ranks}) > 5
    assert 1 < len({Cutoffs.named(name).risks for name in room.cutoffs})
    verdicts, states = room.replayed(taken)
    assert verdicts == found.verdicts
    stored = deployment.changelog_state().items()
    assert states == {at: value for (at, key), value in stored if key == PARTITION_STATE_KEY}
    assert {later} == {stored_risk_windows(value)[-1].version for value in states.values()}
    days = [one.metrics()[metrics.RISK_WINDOWS_DAY._name] for one in (first, second)]
    assert len(states) * (room.own.day + 8) * 86_400 == sum(days)
    hours = [one.metrics()[metrics.SEVERITY_CUTOFFS_HOUR._name] for one in (first, second)]
    in_force = [stored_cutoffs(value)[-1].version for value in states.values()]
    assert sum(Cutoffs.named(name).hour for name in in_force) * 3_600 == sum(hours)
    for worker in (first, second):
        assert 0 == worker.terminate()[0]
    (room.windows / later).unlink()
    third = room.worker("first")
    third.await_event("partition_stopped")
    assert all("can't be had" in one["reason"] for one in third.logged("partition_stopped"))
    version = room.published(monkeypatch, labels, to_tell=1)
    assert version == RiskVersion.stored(version, (room.windows / version).read_bytes()).version
    control = ControlFollower(deployment.kafka, deployment.topics.name("control"))
    newest = control.newest()
    assert version == announced_version(RISK_WINDOWS_KEY, newest[RISK_WINDOWS_KEY])
    assert room.cutoffs[-1] == announced_version(CUTOFFS_KEY, newest[CUTOFFS_KEY])
    assert_goes_on(room, found)
    assert "" == room.published(monkeypatch, severity, to_tell=1)  # no hour has begun since
    control.close()


def assert_goes_on(room: Room, found: Found) -> None:
    """Who begins anew has counted each verdict once, as who has read them all."""
    room.tally.close()
    resumed = room.new_tally()
    while resumed.is_behind:
        resumed.advance()
    resumed.close()
    whole = Tally()
    decisions = map(decided, (payload for [payload] in found.verdicts.values()))
    add(whole, (one for one in decisions if one is not None))
    newest = whole.newest
    assert newest is not None
    whole.forget(newest)
    assert [one[:3] for one in whole.hours()] == [one[:3] for one in resumed.tally.hours()]


def test_verdicts_name_windows_only_where_some_were_taken_over(fed: ModelArtifact) -> None:
    """Readers of the contract as it was see what they saw."""
    source, state = SourcePartition("t", 0), None
    payment = {"tx_id": "1", "user_id": "u", "amount": 1.0, "timestamp": 1_700_000_000_000}
    records = Records(source, [b"u"], [msgspec.json.encode(payment)], [0])
    assert fed.supervised is not None
    version = RiskVersion.of(fed.supervised.table)
    for taken_over, expected in ((None, None), (version, version.version)):
        state = PartitionState.initial(fed.version, fed.half_space_trees)
        [payload] = process(records, MemoryProfiles(), state, fed, Policy(), taken_over).payloads
        assert expected == decode_verdict(payload).versions.risk_windows
        assert (b'"risk_windows"' in payload) == (taken_over is not None)
