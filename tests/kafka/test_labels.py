"""Labels into their topic from a file, and what is no label put aside as it came."""

from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from streamapp.cli import dlq
from streamapp.cli import labels as command
from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings
from streamapp.contract.examples import LABEL
from streamapp.domain.decode import decode_label
from streamapp.domain.label import Label
from streamapp.domain.transaction import epoch_ms
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.replay.errors import RecordedError
from streamapp.replay.label_messages import label_messages
from tests.kafka.records import read_all

HEADER = "tx_id,user_id,is_fraud,timestamp,label_time,merchant_id\n"
ROWS = (
    "1,a,1,2024-01-01T00:00:00Z,2024-01-08T00:00:00.5Z,m\n"
    "2,b,0,2024-01-02T00:00:00Z,2024-01-09T00:00:00Z,\n"
    "3,c,,2024-01-02T00:00:00Z,,\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two labels, and a row without one."""
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + ROWS)
    return path


def test_a_file_is_labels_of_the_contract(file: Path) -> None:
    """Each row with a label is one, with its times to the millisecond; the same bytes again."""
    [batch] = label_messages(file)
    [first, second] = [decode_label(*one) for one in zip(batch.keys, batch.values, strict=True)]
    assert isinstance(first, Label)
    assert isinstance(second, Label)
    assert ("1", "a", True, "m") == (first.tx_id, first.user_id, first.is_fraud, first.merchant_id)
    assert (1_704_067_200_000, 1_704_672_000_500) == (
        epoch_ms(first.timestamp),
        epoch_ms(first.label_time),
    )
    assert (False, None) == (second.is_fraud, second.merchant_id)
    assert batch.values == label_messages(file)[0].values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tx_id,user_id,is_fraud,label_time\n", "column timestamp is missing, expected tx_id"),
        (HEADER + "1,a,yes,2024-01-01,2024-01-01,m\n", "is_fraud, row 0: is 'yes', expected 0 or"),
        (HEADER + f"{'x' * 129},a,1,2024-01-01,2024-01-01,m\n", "column tx_id, label 0: Expected"),
        (HEADER + "1,a,1,2024-01-01,2024-01-01\n", "CSV parse error"),
    ],
)
def test_a_file_that_is_not_all_labels_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    """In one line that names the file and what is wrong."""
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(RecordedError, match=r"labels\.csv: ") as refusal:
        label_messages(path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


class Room:
    """The topics of labels and the commands on them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings
    ) -> None:
        self.kafka = kafka
        self.labels = topics.name("labels")
        self.letters = topics.name("label_dead_letters")
        settings = Settings(kafka=kafka, topics=topics)
        for module in (command, dlq):
            monkeypatch.setattr(module, "load_settings", lambda _file: settings)
        plans = [TopicPlan(name, topics.partitions) for name in (self.labels, self.letters)]
        ensure_topics(kafka, plans, 1)

    def run(self, *words: str | Path) -> Result:
        """`streamapp labels` with these words."""
        result = CliRunner().invoke(command.app, [*map(str, words)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def write(self, *records: tuple[bytes | None, bytes | None]) -> None:
        """Into the topic of labels, partition 1."""
        producer = Producer(self.kafka.librdkafka())
        for key, value in records:
            producer.produce(self.labels, value, key, partition=1, headers=[("trace", b"t")])
        assert 0 == producer.flush(30)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings) -> Room:
    return Room(monkeypatch, kafka, topics)


@pytest.mark.integration
def test_import_sends_each_label_under_its_user(room: Room, file: Path) -> None:
    """Twice is twice the same message, of which the join takes one."""
    for _ in range(2):
        result = room.run("import", file)
        assert 0 == result.exit_code, result.output
        assert f"2 sent to {room.labels}; 2 acknowledged" in result.stdout
    found = [(record.key(), record.value()) for record in read_all(room.kafka, room.labels)]
    [batch] = label_messages(file)
    assert sorted(2 * [*zip(batch.keys, batch.values, strict=True)]) == sorted(found)


@pytest.mark.integration
def test_nothing_is_sent_of_a_file_with_one_bad_row(room: Room, file: Path) -> None:
    """It ends in the one line of a mistake."""
    file.write_text(HEADER + ROWS + ",d,1,2024-01-02T00:00:00Z,2024-01-02T00:00:00Z,\n")
    with pytest.raises(UsageError, match="tx_id"):
        room.run("import", file)
    assert [] == read_all(room.kafka, room.labels)


@pytest.mark.integration
def test_what_is_no_label_is_put_aside_once(room: Room) -> None:
    """Bytes, key, partition and headers are those that came; a second look finds nothing new."""
    good = msgspec.json.encode(LABEL)
    bad = (b"\xff", b'{"tx_id":"1","user_id":"\xc3\x28"}')
    room.write((LABEL.user_id.encode(), good), bad, (b"u", None))
    result = room.run("check")
    assert 1 == result.exit_code, result.output
    assert "1 labels, 1 of them fraud; 2 put aside in " in result.stdout
    assert "(empty 1, not_utf8 1)" in result.stdout
    letters = read_all(room.kafka, room.letters)
    assert [bad, (b"u", None)] == [(letter.key(), letter.value()) for letter in letters]
    assert {1} == {letter.partition() for letter in letters}
    headers = [dict(letter.headers() or []) for letter in letters]
    assert ["not_utf8", "empty"] == [one["dlq.reason"].decode() for one in headers]
    assert [(room.labels, "1", "1"), (room.labels, "1", "2")] == [
        tuple(one[f"dlq.{what}"].decode() for what in ("topic", "partition", "offset"))
        for one in headers
    ]
    assert {b"t"} == {one["trace"] for one in headers}
    assert 0 == room.run("check").exit_code
    assert 2 == len(read_all(room.kafka, room.letters))


@pytest.mark.integration
def test_dead_letters_of_labels_are_listed_and_sent_back(room: Room) -> None:
    """`streamapp dlq --labels` is about them, and they go back to the topic of labels."""
    room.write((b"u", b"{"))
    assert 1 == room.run("check").exit_code
    listed = CliRunner().invoke(dlq.app, ["list", "--labels", "--json"])
    assert '"not_json"' in listed.stdout
    sent_back = CliRunner().invoke(dlq.app, ["redrive", "--labels"])
    assert "1 sent back" in sent_back.stdout
    assert [b"{", b"{"] == [record.value() for record in read_all(room.kafka, room.labels)]
