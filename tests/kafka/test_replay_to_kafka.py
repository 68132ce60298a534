"""`streamapp replay` against a real broker: all there, in order, where Java's producers put it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from streamapp.cli import replay as command
from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings
from streamapp.kafka.metadata import TopicError
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.replay.partitioner import partitions_of
from streamapp.replay.producer import SENT_AT, Sent, send
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.replay.schedule import FixedRate
from tests.kafka.conftest import PARTITIONS
from tests.kafka.records import read_all

pytestmark = pytest.mark.integration


def _run(
    monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings, *arguments: str
) -> tuple[int, str]:
    settings = Settings(kafka=kafka, topics=topics)
    monkeypatch.setattr(command, "load_settings", lambda _file: settings)
    app = typer.Typer()
    app.command()(command.replay)
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, UsageError):
        raise result.exception
    return result.exit_code, result.output


def test_bytes_keys_and_partitions_are_those_of_the_brokerless_run(
    kafka: KafkaSettings, topics: TopicSettings
) -> None:
    """Each partition holds, in file order, the very bytes that a brokerless run puts there."""
    topic = topics.name("transactions")
    sent = send(recorded(sample(), limit=20_000), kafka=kafka, topic=topic)
    assert sent.complete
    assert 20_000 == sent.sent == sent.acknowledged
    expected: dict[int, list[tuple[bytes, bytes]]] = {part: [] for part in range(PARTITIONS)}
    for batch in recorded(sample(), limit=20_000):
        places = partitions_of(batch.keys, PARTITIONS).tolist()
        for place, key, value in zip(places, batch.keys, batch.values, strict=True):
            expected[place].append((key, value))
    found: dict[int, list[object]] = {part: [] for part in range(PARTITIONS)}
    for record in read_all(kafka, topic):
        found[record.partition()].append((record.key(), record.value()))
    assert expected == found


def test_messages_that_cannot_be_read_have_a_place_too(
    kafka: KafkaSettings, topics: TopicSettings, tmp_path: Path
) -> None:
    """Bad lines arrive unchanged, under an empty key, in the partition that key belongs to."""
    lines = [b"{", b"\xff\xfe", b'{"user_id":3}']
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join(lines))
    send(recorded(tmp_path / "bad.jsonl"), kafka=kafka, topic=topics.name("transactions"))
    records = read_all(kafka, topics.name("transactions"))
    assert lines == [record.value() for record in records]
    assert {b""} == {record.key() for record in records}
    assert {int(partitions_of([b""], PARTITIONS)[0])} == {record.partition() for record in records}


def test_the_header_holds_the_intended_time(kafka: KafkaSettings, topics: TopicSettings) -> None:
    """At 2,000 a second, intended times are 500 µs apart, whenever the sending happened."""
    topic = topics.name("transactions")
    send(recorded(sample(), limit=500), kafka=kafka, topic=topic, schedule=FixedRate(2_000))
    times = sorted(int(dict(record.headers())[SENT_AT]) for record in read_all(kafka, topic))
    assert [500] * 499 == pytest.approx([late - soon for soon, late in pairwise(times)], abs=1)


def test_a_stopped_replay_says_what_it_sent(kafka: KafkaSettings, topics: TopicSettings) -> None:
    """Stop ends the handing over, flushes, and the figures equal what is in the topic."""
    stop = threading.Event()

    def stop_soon(sent: Sent) -> None:
        if sent.sent:
            stop.set()

    sent = send(
        recorded(sample()),
        kafka=kafka,
        topic=topics.name("transactions"),
        schedule=FixedRate(1_000),
        stop=stop,
        on_progress=stop_soon,
    )
    assert sent.interrupted
    assert 0 < sent.sent < 10_000
    assert sent.sent == sent.acknowledged == len(read_all(kafka, topics.name("transactions")))


def test_a_message_too_large_is_a_failed_delivery(
    kafka: KafkaSettings, topics: TopicSettings, tmp_path: Path
) -> None:
    """What the producer refuses is counted by its error; the others arrive."""
    (tmp_path / "t.jsonl").write_bytes(b"1\n" + b"9" * 2_000_000 + b"\n3\n")
    sent = send(recorded(tmp_path / "t.jsonl"), kafka=kafka, topic=topics.name("transactions"))
    assert (3, 2, 1) == (sent.sent, sent.acknowledged, sent.failed)
    assert {"MSG_SIZE_TOO_LARGE": 1} == dict(sent.errors)
    assert not sent.complete


def test_a_missing_topic_is_not_created(kafka: KafkaSettings) -> None:
    """The error names the topic and the way out; the topic is still missing after."""
    for _ in range(2):
        with pytest.raises(TopicError, match="topic nowhere does not exist"):
            send(recorded(sample(), limit=1), kafka=kafka, topic="nowhere")


def test_command_writes_its_figures(
    monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings, tmp_path: Path
) -> None:
    """The last line says what happened; --json holds the figures; exit code 0."""
    out = tmp_path / "figures.json"
    arguments = ("sample:handbook", "--max", "--limit", "100", "--skip", "7", "--json", str(out))
    code, output = _run(monkeypatch, kafka, topics, *arguments)
    assert 0 == code
    assert f"100 sent to {topics.name('transactions')}; 100 acknowledged" in output
    figures = json.loads(out.read_bytes())
    assert (100, 100, 0) == tuple(figures[k] for k in ("sent", "acknowledged", "failed"))
    assert 100 == len(read_all(kafka, topics.name("transactions")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample:handbook",), "exactly one of --rate, --speedup, --max"),
        (("sample:handbook", "--max", "--rate", "3"), "exactly one of --rate, --speedup, --max"),
        (("sample:handbook", "--rate", "0"), "rate is 0.0, expected more than 0 a second"),
        (("sample:other", "--max"), "no sample other, expected one of sparkov, handbook"),
        (("nothing.parquet", "--max"), "nothing.parquet: "),
    ],
)
def test_mistakes_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch,
    kafka: KafkaSettings,
    topics: TopicSettings,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """A mistake of the user's is one line that says how to mend it."""
    with pytest.raises(UsageError, match=message):
        _run(monkeypatch, kafka, topics, *arguments)


def test_ctrl_c_flushes_and_says_how_many_were_sent(
    kafka: KafkaSettings, topics: TopicSettings
) -> None:
    """The first SIGINT ends the replay with exit code 130; what it says was sent is there."""
    program = "import typer; from streamapp.cli.replay import replay; typer.run(replay)"
    variables = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": topics.prefix,
    }
    running = subprocess.Popen(
        [sys.executable, "-c", program, "sample:sparkov", "--rate", "500"],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    topic = topics.name("transactions")
    deadline = time.monotonic() + 60
    while not read_all(kafka, topic):
        assert time.monotonic() < deadline, "nothing was sent"
    running.send_signal(signal.SIGINT)
    output = running.communicate(timeout=60)[0].decode()
    assert 130 == running.returncode
    sent = len(read_all(kafka, topic))
    assert f"interrupted: {sent:,} sent to {topic}; {sent:,} acknowledged" in output
