"""Risk windows taken over by running workers: a verdict can be made again from what it names."""

from collections import defaultdict
from itertools import groupby
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Message
from typer.testing import CliRunner

from streamapp.broker.waiting import wait_until
from streamapp.cli import labels
from streamapp.cli.settings import Settings
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.engine import metrics
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.features.risk_windows import RiskTable
from streamapp.kafka.control import ControlFollower, publish_risk_windows
from streamapp.scoring.artifact import ModelArtifact, save
from streamapp.scoring.partition_state import PartitionState, stored_risk_windows
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import Records, process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk_version import RiskVersion, to_bytes
from streamapp.scoring.verdicts import SourcePartition
from tests.engine.deployment import Deployment, Found
from tests.engine.worker_process import WorkerProcess
from tests.kafka.records import read_all

pytestmark = pytest.mark.integration

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
        save(fed, self.model)
        deployment.make_topics()

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

    def published(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """By the command, of what stands in the topics; the version it tells."""
        worker = WorkerSettings(model_dir=self.model, risk_windows_dir=self.windows)
        settings = Settings(
            kafka=self.deployment.kafka, topics=self.deployment.topics, worker=worker
        )
        monkeypatch.setattr(labels, "load_settings", lambda _file: settings)
        result = CliRunner().invoke(labels.app, ["publish"])
        assert 0 == result.exit_code, result.output
        return result.stdout.split()[0]

    def await_outputs(self, rows: int) -> None:
        assert wait_until(lambda: self.deployment.output_offsets() >= rows, 120)

    def replayed(
        self, taken: dict[int, dict[int, str | None]]
    ) -> tuple[dict[str, set[bytes]], dict[int, bytes]]:
        """Verdicts made again, each record by the windows its verdict names; and the states."""
        source = self.deployment.topics.name("transactions")
        found: dict[str, set[bytes]] = {}
        states: dict[int, bytes] = {}
        messages = {(one.partition(), one.offset()): one for one in self.read(source)}
        for partition, by_offset in taken.items():
            state = PartitionState.initial(self.fed.version, self.fed.half_space_trees)
            profiles = MemoryProfiles()
            for version, group in groupby(sorted(by_offset), key=by_offset.__getitem__):
                offsets = list(group)
                batch = [messages[partition, offset] for offset in offsets]
                keys, values = [one.key() for one in batch], [one.value() for one in batch]
                records = Records(SourcePartition(source, partition), keys, values, offsets)
                made = self.versions[version]
                if made is not None:
                    state.source_offset = offsets[0] - 1
                    state.take_over(made.version)
                scored = process(records, profiles, state, self.fed, Policy(), made)
                for offset, payload in zip(offsets, scored.payloads, strict=True):
                    found[f"{source}-{partition}-{offset}"] = {payload}
            states[partition] = state.to_bytes(self.fed.half_space_trees)
        return found, states

    def read(self, topic: str) -> list[Message]:
        return read_all(self.deployment.kafka, topic)


def versions_taken(found: Found) -> dict[int, dict[int, str | None]]:
    """Of each partition, by offset: the version its verdict names."""
    taken: dict[int, dict[int, str | None]] = defaultdict(dict)
    for [payload] in found.verdicts.values():
        verdict: Verdict = decode_verdict(payload)
        taken[verdict.source.partition][verdict.source.offset] = verdict.versions.risk_windows
    return taken


def test_windows_are_taken_over_amid_a_kill(
    deployment: Deployment,
    fed: ModelArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two versions published while two workers score and one is killed: each record has one
    verdict, a partition never goes back to older windows, a replay gives the same bytes. Without
    their file the partitions stop; the command publishes what workers can read."""
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
        ranks = [order.index(by_offset[offset]) for offset in sorted(by_offset)]
        assert sorted(ranks) == ranks
        assert {0, 1, 2} == {*ranks}
    verdicts, states = room.replayed(taken)
    assert verdicts == found.verdicts
    stored = deployment.changelog_state().items()
    assert states == {at: value for (at, key), value in stored if key == PARTITION_STATE_KEY}
    assert {later} == {stored_risk_windows(value)[-1].version for value in states.values()}
    days = [one.metrics()[metrics.RISK_WINDOWS_DAY._name] for one in (first, second)]
    assert len(states) * (room.own.day + 8) * 86_400 == sum(days)
    for worker in (first, second):
        assert 0 == worker.terminate()[0]
    (room.windows / later).unlink()
    third = room.worker("first")
    third.await_event("partition_stopped")
    assert all("can't be had" in one["reason"] for one in third.logged("partition_stopped"))
    version = room.published(monkeypatch)
    assert version == RiskVersion.stored(version, (room.windows / version).read_bytes()).version
    control = ControlFollower(deployment.kafka, deployment.topics.name("control"))
    assert version == control.risk_windows()
    control.close()


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
