"""A brokerless run gives the verdicts of the pipeline, with the places the topic would give."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamapp.domain.dead_letter import DeadLetter, Reason
from streamapp.replay.brokerless import BrokerlessRun, RecordedTopic, score_recorded
from streamapp.replay.partitioner import partition_of
from streamapp.replay.reader import RecordedBatch, recorded
from streamapp.replay.sample import sample
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.pipeline import Pipeline

ROWS = 3_000
BAD = (b"", b"{", b'{"tx_id":"1"}', b'["no","object"]', b'{"user_id":"9","amount":NaN}')


@pytest.fixture(scope="module")
def model() -> ModelArtifact:
    """The model that ships."""
    return load(default_model_dir())


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with good and bad messages and one payment that comes twice."""
    [batch] = recorded(sample("sparkov"), limit=ROWS, batch_rows=ROWS)
    lines = [value for value in batch.values if value]
    for place, bad in enumerate(BAD[1:], start=1):
        lines.insert(place * 500, bad)
    lines.insert(1_700, lines[1_650])
    path = tmp_path_factory.mktemp("recording") / "mixed.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def scored(
    model: ModelArtifact, batches: Iterator[RecordedBatch], partitions: int, **more: object
) -> tuple[list[bytes], list[DeadLetter]]:
    """All verdicts and dead letters of a run."""
    outcomes = list(score_recorded(batches, model, partitions=partitions, **more))  # type: ignore[arg-type]
    payloads = [payload for outcome in outcomes for payload in outcome.payloads]
    return payloads, [letter for outcome in outcomes for letter in outcome.dead_letters]


def by_pipelines(model: ModelArtifact, path: Path, partitions: int) -> list[bytes]:
    """The verdicts of one pipeline for each partition, fed with all its records at once."""
    messages = [
        pair for batch in recorded(path) for pair in zip(batch.keys, batch.values, strict=True)
    ]
    verdicts: dict[int, bytes] = {}
    for partition in range(partitions):
        rows = [
            r for r, (key, _) in enumerate(messages) if partition_of(key, partitions) == partition
        ]
        pipeline = Pipeline(model, partition=partition)
        batch = pipeline.process([messages[r][0] for r in rows], [messages[r][1] for r in rows])
        verdicts |= {rows[at]: p for at, p in zip(batch.rows, batch.payloads, strict=True)}
    return [verdicts[row] for row in sorted(verdicts)]


@pytest.mark.parametrize("partitions", [1, 4])
def test_verdicts_are_those_of_the_pipeline_for_any_batch_size(
    model: ModelArtifact, recording: Path, partitions: int
) -> None:
    """Byte for byte, in the order of the input, for 1, 7, 256 and 4,096 rows at a time."""
    expected = by_pipelines(model, recording, partitions)
    assert ROWS + 1 == len(expected)
    for rows in (1, 7, 256, 4_096):
        payloads, letters = scored(model, recorded(recording, batch_rows=rows), partitions)
        assert expected == payloads
        assert len(BAD) - 1 == len(letters)


def test_places_are_those_of_the_topic(model: ModelArtifact, recording: Path) -> None:
    """The partition of the key; offsets from 0 in order, dead letters taking one as well."""
    payloads, letters = scored(model, recorded(recording), 4, topic="eu.transactions")
    sources = [json.loads(payload)["source"] for payload in payloads]
    users = [json.loads(payload)["user_id"] for payload in payloads]
    assert {"eu.transactions"} == {source["topic"] for source in sources}
    for source, user in zip(sources, users, strict=True):
        assert partition_of(user.encode(), 4) == source["partition"]
    taken = [(s["partition"], s["offset"]) for s in sources]
    taken += [(letter.partition, letter.offset) for letter in letters]
    for partition in range(4):
        offsets = sorted(offset for p, offset in taken if p == partition)
        assert list(range(len(offsets))) == offsets


def test_history_is_as_if_it_had_come_before(model: ModelArtifact) -> None:
    """Offsets, profiles and half-space trees go on: the rest gets the verdicts of the whole."""
    path = sample("sparkov")
    whole, _ = scored(model, recorded(path, limit=ROWS), 4)
    history = recorded(path, limit=2_000)
    rest, _ = scored(model, recorded(path, skip=2_000, limit=ROWS - 2_000), 4, history=history)
    alone, _ = scored(model, recorded(path, skip=2_000, limit=ROWS - 2_000), 4)
    assert whole[2_000:] == rest
    assert rest != alone


def test_what_is_no_transaction_is_a_dead_letter_with_its_bytes(model: ModelArtifact) -> None:
    """Each kind of bad message keeps bytes, reason and place; empty ones as well."""
    batch = next(recorded(sample("sparkov"), limit=3))
    mixed = RecordedBatch(
        [b"", b"", b"", b"", b"9", *batch.keys],
        [*BAD, *batch.values],
        batch.time_ms.repeat(4)[:8],
        batch.labels.repeat(4)[:8],
    )
    outcome = BrokerlessRun(model, partitions=1).score(mixed)
    reasons = [letter.rejected.reason for letter in outcome.dead_letters]
    assert [
        Reason.EMPTY,
        Reason.NOT_JSON,
        Reason.MISSING_FIELD,
        Reason.NOT_AN_OBJECT,
        Reason.OUT_OF_RANGE,
    ] == reasons
    assert list(BAD) == [letter.value for letter in outcome.dead_letters]
    assert [0, 1, 2, 3, 4] == [letter.offset for letter in outcome.dead_letters]
    assert 3 == len(outcome.payloads)


def test_a_batch_of_bad_messages_only_is_scored(model: ModelArtifact) -> None:
    """Nothing is left over for the models, and the next batch goes on."""
    batch = next(recorded(sample("sparkov"), limit=2))
    bad = RecordedBatch([b"", b""], [b"{", b"["], batch.time_ms, batch.labels)
    run = BrokerlessRun(model, partitions=1)
    assert [] == [*run.score(bad).payloads]
    assert "transactions-0-2" == json.loads(run.score(batch).payloads[0])["verdict_id"]


def test_duplicates_get_the_first_verdict_again(model: ModelArtifact, recording: Path) -> None:
    """Marked as duplicates, wherever a batch ends between the two."""
    for rows in (1, 4_096):
        payloads, _ = scored(model, recorded(recording, batch_rows=rows), 4)
        verdicts = [json.loads(payload) for payload in payloads]
        [again] = [verdict for verdict in verdicts if verdict["duplicate_of"]]
        [first] = [v for v in verdicts if v["verdict_id"] == again["duplicate_of"]]
        assert first["tx_id"] == again["tx_id"]
        assert first["risk_score"] == again["risk_score"]


def test_a_topic_has_partitions() -> None:
    """No partition at all is refused."""
    with pytest.raises(ValueError, match="at least 1 partition"):
        RecordedTopic("transactions", 0)


def test_placing_is_the_same_however_traffic_is_cut() -> None:
    """Partition and offset of each message do not depend on batches."""
    path = sample("handbook")

    def places(rows: int) -> list[tuple[int, int, bytes]]:
        topic = RecordedTopic("transactions", 4)
        placed = itertools.chain.from_iterable(
            topic.place(batch) for batch in recorded(path, limit=500, batch_rows=rows)
        )
        return sorted(
            (records.source.partition, offset, value)
            for _, records in placed
            for offset, value in zip(records.offsets, records.values, strict=True)
        )

    assert places(500) == places(1) == places(13)
