"""State that is damaged or does not fit its topics: a worker mends it or stops, and says so."""

import json
import shutil
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from rocksdict import Options, Rdict

from streamapp.broker.waiting import wait_until
from streamapp.engine.store import PARTITION_STATE_KEY, StateStore
from streamapp.scoring import partition_state
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import PARTITIONS, Deployment, assert_undisturbed
from tests.engine.worker_process import WorkerProcess

pytestmark = pytest.mark.integration

ROWS = 1_000


@pytest.fixture
def scored(deployment: Deployment) -> Deployment:
    """A system that has scored some traffic; its worker has ended well."""
    deployment.make_topics()
    deployment.replay(ROWS)
    first = deployment.worker()
    deployment.found(ROWS)
    assert 0 == first.terminate()[0]
    return deployment


def place(deployment: Deployment, partition: int, state: str = "state") -> Path:
    """A partition's local state."""
    return deployment.directory / state / f"p{partition:05d}"


def stopped(worker: WorkerProcess, partitions: int = PARTITIONS) -> dict[int, str]:
    """What a worker says of the partitions it has stopped; it lives on, not ready."""
    worker.await_event("health_served")
    assert wait_until(lambda: len(worker.logged("partition_stopped")) >= partitions, 60)
    assert (503, True) == (worker.get("/readyz")[0], worker.is_alive)
    return {one["partition"]: one["reason"] for one in worker.logged("partition_stopped")}


def turn_a_profile(directory: Path) -> None:
    """Turn a bit of one stored profile, past RocksDB's own checksums."""
    db = Rdict(str(directory), options=Options(raw_mode=True))
    key = next(key for key, _ in db.items() if key.startswith(b"u"))
    value = bytearray(db[key])
    value[-1] ^= 1
    db[key] = bytes(value)
    db.close()


def test_damaged_state_is_built_again_by_itself(
    scored: Deployment, shipped_model: ModelArtifact
) -> None:
    """At opening: the copy is set aside and counted, and the changelog gives all of it back."""
    (place(scored, 1) / "CURRENT").write_bytes(b"no manifest\n")
    (place(scored, 2) / "notes.txt").write_text("mine")
    worker = scored.worker()
    worker.await_ready()
    assert 2 == worker.metrics()["streamapp_state_rebuilds_total"]
    assert {"damaged", "foreign"} == {one["reason"] for one in worker.logged("state_set_aside")}
    assert 0 == worker.terminate()[0]
    assert_undisturbed(scored, scored.expected(shipped_model), scored.found(ROWS))
    assert place(scored, 1).with_name("p00001.damaged-1").is_dir()
    assert "mine" == (place(scored, 2).with_name("p00002.foreign-1") / "notes.txt").read_text()
    code, table = scored.command("state", "verify", "--deep")
    assert 0 == code, table


def test_a_damaged_profile_ends_the_worker_and_the_next_one_mends_it(
    scored: Deployment, shipped_model: ModelArtifact
) -> None:
    """Found when it is read: nothing is scored from it; at the next start it is built again."""
    for partition in range(PARTITIONS):
        turn_a_profile(place(scored, partition))
    code, told = scored.command("state", "verify", "--offline", "--json")
    assert 1 == code
    problems = json.loads(told)[0]["problems"]
    assert problems[0] == "profile checksum differs: the stored bytes are damaged"
    worker = scored.worker()
    worker.await_ready()
    scored.replay(3 * ROWS)
    assert 1 == worker.await_end()
    [failed] = worker.logged("worker_failed")
    assert "is damaged: profile checksum differs" in failed["error"]
    for _ in range(PARTITIONS):  # each partition may meet its own
        worker = scored.worker()
        if wait_until(lambda w=worker: not w.is_alive or sum_done(scored), 60) and worker.is_alive:
            break
    found = scored.found(4 * ROWS)
    assert 0 == worker.terminate()[0]
    assert 0 == found.repeated_verdicts
    assert_undisturbed(scored, scored.expected(shipped_model), found)


def sum_done(deployment: Deployment) -> bool:
    """All that was sent has been scored."""
    return sum(deployment.committed().values()) >= 4 * ROWS


def test_state_ahead_of_all_the_broker_has_kept_is_built_again(
    scored: Deployment, shipped_model: ModelArtifact
) -> None:
    """Its commit was lost at the broker: the changelog's state goes on, and nothing is left out."""
    store = StateStore(place(scored, 1))
    state = store.get(PARTITION_STATE_KEY)
    assert state is not None
    ahead = partition_state.moved(state, partition_state.source_offset(state) + 3)
    store.write([(PARTITION_STATE_KEY, ahead)], store.changelog_offset)
    store.close()
    scored.replay(ROWS)
    worker = scored.worker()
    found = scored.found(2 * ROWS)
    assert 0 == worker.terminate()[0]
    [set_aside] = worker.logged("state_set_aside")
    assert "the broker has lost a commit, which is scored again" in set_aside["detail"]
    assert 0 == found.repeated_verdicts
    assert_undisturbed(scored, scored.expected(shipped_model), found)


def test_a_source_topic_made_again_stops_and_is_repaired(scored: Deployment) -> None:
    """Also when it has grown past where the state goes on: its id is another."""
    source = scored.topics.name("transactions")
    scored.make_again(source)
    scored.replay(2 * ROWS)
    worker = scored.worker()
    told = stopped(worker)
    assert 0 == worker.terminate()[0]
    for partition in range(PARTITIONS):
        assert f"{source}[{partition}] is another topic (id " in told[partition]
        assert f"streamapp state repair --partition {partition}" in told[partition]
        code, said = scored.command("state", "repair", "--partition", str(partition), "--yes")
        assert 0 == code, said
        assert f"will go on from 0 of {source}[{partition}] and score all it holds now" in said
    before = len(scored.found(0).verdicts)
    again = scored.worker()
    again.await_ready()
    assert wait_until(lambda: sum(scored.committed().values()) >= 2 * ROWS, 60)
    assert 0 == again.terminate()[0]
    metrics = {one["event"] for one in again.events()}
    assert "partition_stopped" not in metrics
    assert before <= len(scored.found(0).verdicts)
    code, table = scored.command("state", "verify", "--deep")
    assert 0 == code, table


def test_a_source_below_retention_stops_and_is_repaired(scored: Deployment) -> None:
    """What is gone is counted and said; then the rest is scored."""
    source = scored.topics.name("transactions")
    scored.replay(ROWS)
    ends = dict(scored.committed())
    admin = AdminClient({**scored.kafka.librdkafka()})
    cut = [TopicPartition(source, p, ends[p] + 5) for p in range(PARTITIONS)]
    for future in admin.delete_records(cut).values():
        future.result(30)
    worker = scored.worker()
    told = stopped(worker)
    assert 0 == worker.terminate()[0]
    for partition in range(PARTITIONS):
        assert f"begins at {ends[partition] + 5}, but the state goes on from" in told[partition]
        assert "5 records went by retention" in told[partition]
        code, said = scored.command("state", "repair", "--partition", str(partition), "--yes")
        assert 0 == code, said
        assert "lost: 5 records of" in said
    again = scored.worker()
    again.await_ready()
    assert wait_until(lambda: sum(scored.committed().values()) >= 2 * ROWS, 60)
    assert 0 == again.terminate()[0]


def test_retention_that_overtakes_a_running_worker_stops_its_partitions(scored: Deployment) -> None:
    """It does not go on behind the records that are gone as if there had been none."""
    source = scored.topics.name("transactions")
    worker = scored.worker()
    worker.await_ready()
    worker.send(SIGSTOP)
    for _ in range(2):  # a fetch that is under way may still bring the first
        scored.replay(ROWS)
    admin = AdminClient({**scored.kafka.librdkafka()})
    places = [TopicPartition(source, partition) for partition in range(PARTITIONS)]
    latest = admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest()))
    ends = {place.partition: found.result(30).offset for place, found in latest.items()}
    cut = [TopicPartition(source, partition, end - 5) for partition, end in ends.items()]
    for future in admin.delete_records(cut).values():
        future.result(30)
    worker.send(SIGCONT)
    told = stopped(worker)
    assert 0 == worker.terminate()[0]
    for partition, end in ends.items():
        assert f"begins at {end - 5}, but the state goes on from" in told[partition]
        assert scored.committed()[partition] < end - 5


def test_a_changelog_made_again_stops_and_is_repaired_without_loss(
    scored: Deployment, shipped_model: ModelArtifact
) -> None:
    """The local state is all there is: it is written to the new topic, then others can read it."""
    scored.make_again(scored.changelog, {"cleanup.policy": "compact"})
    worker = scored.worker()
    told = stopped(worker)
    assert 0 == worker.terminate()[0]
    assert all("it was deleted and made again; to write the local" in one for one in told.values())
    elsewhere = scored.worker("elsewhere")
    told = stopped(elsewhere)
    assert 0 == elsewhere.terminate()[0]
    assert all("has lost records; where the newest local" in one for one in told.values())
    for partition in range(PARTITIONS):
        code, said = scored.command("state", "repair", "--partition", str(partition), "--yes")
        assert 0 == code, said
        assert "will write the local state to" in said
        assert "lost" not in said
    shutil.rmtree(scored.directory / "elsewhere")
    scored.replay(ROWS)
    last = scored.worker("elsewhere")
    found = scored.found(2 * ROWS)
    assert 0 == last.terminate()[0]
    assert 0 == found.repeated_verdicts
    assert_undisturbed(scored, scored.expected(shipped_model), found, "elsewhere")


def test_a_damaged_changelog_record_stops_and_is_repaired(
    scored: Deployment, shipped_model: ModelArtifact
) -> None:
    """It can't be rebuilt from; the local state that was written beside it has the value."""
    state = scored.changelog_state()
    partition, key = next(one for one in state if one[1].startswith(b"u"))
    good = state[partition, key]
    producer = Producer({**scored.kafka.librdkafka()})
    producer.produce(scored.changelog, good[:-1] + b"\1", key, partition=partition)
    assert 0 == producer.flush(30)
    worker = scored.worker()
    [told] = stopped(worker, 1).values()
    assert 0 == worker.terminate()[0]
    assert "can't be used: profile checksum differs" in told
    assert f"streamapp state verify --deep --partition {partition}" in told
    code, said = scored.command("state", "verify", "--deep", "--partition", str(partition))
    assert (1, True) == (code, "can't be used: profile checksum differs" in said)
    code, said = scored.command("state", "repair", "--partition", str(partition), "--yes")
    assert 0 == code, said
    shutil.rmtree(place(scored, partition))
    again = scored.worker()
    again.await_ready()
    assert 0 == again.terminate()[0]
    assert_undisturbed(scored, scored.expected(shipped_model), scored.found(ROWS))
