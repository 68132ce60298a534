"""Dead letters go back once each: unchanged, bounded, and safely interrupted."""

import threading
from collections.abc import Iterable

import pytest
from confluent_kafka import Producer

from streamapp.domain.dead_letter import DeadLetter, Reason
from streamapp.kafka import redrive as module
from streamapp.kafka.dead_letters import REDRIVEN, DeadLetterReader
from streamapp.kafka.metadata import TopicError
from streamapp.kafka.redrive import Choice, Redriven, redrive
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topic_reader import Span
from tests.kafka.records import letter, read_all, write_letters

pytestmark = pytest.mark.integration


class Room:
    """The two topics of a test and short words for what is done to them."""

    def __init__(self, kafka: KafkaSettings, topics: TopicSettings) -> None:
        self.kafka = kafka
        self.source = topics.name("transactions")
        self.dead_letters = topics.name("dead_letters")

    def write(self, letters: Iterable[DeadLetter]) -> None:
        write_letters(self.kafka, self.dead_letters, letters)

    def redrive(
        self,
        choice: Choice | None = None,
        *,
        dry_run: bool = False,
        stop: threading.Event | None = None,
    ) -> Redriven:
        return redrive(
            self.kafka,
            self.dead_letters,
            self.source,
            choice or Choice(),
            dry_run=dry_run,
            stop=stop,
        )

    def values(self) -> list[bytes | None]:
        return [record.value() for record in read_all(self.kafka, self.source)]


@pytest.fixture
def room(kafka: KafkaSettings, topics: TopicSettings) -> Room:
    return Room(kafka, topics)


def test_bytes_key_and_partition_come_back_unchanged(room: Room) -> None:
    """Whatever the bytes, null ones too, the source topic has them again where they were."""
    payloads = [(b"u", b"{"), (None, b"\xff\x00\n"), (b"", b""), (b"\xff", None)]
    room.write(
        letter(room.source, partition=part, key=key, value=value)
        for part, (key, value) in enumerate(payloads)
    )
    assert 4 == room.redrive().sent
    records = read_all(room.kafka, room.source)
    assert payloads == [(record.key(), record.value()) for record in records]
    assert [0, 1, 2, 3] == [record.partition() for record in records]
    assert [[(REDRIVEN, b"1")]] * 4 == [record.headers() for record in records]


def test_a_second_run_repeats_nothing(room: Room) -> None:
    """Progress is kept: only what came after the first run is sent by the second."""
    room.write(letter(room.source, value=b"%d" % number) for number in range(3))
    assert 3 == room.redrive().sent
    room.write([letter(room.source, value=b"new")])
    assert 1 == room.redrive().sent
    assert 0 == room.redrive().sent
    assert [b"0", b"1", b"2", b"new"] == room.values()


def test_reasons_have_progress_of_their_own(room: Room) -> None:
    """One reason today and the rest tomorrow send every letter once."""
    reasons = [Reason.TIME_AHEAD, Reason.NOT_JSON, Reason.TIME_AHEAD, Reason.EMPTY]
    room.write(letter(room.source, reason=reason, value=reason.encode()) for reason in reasons)
    ahead = Choice(reasons=frozenset([Reason.TIME_AHEAD]))
    assert (2, 2) == (room.redrive(ahead).sent, room.redrive().sent)
    assert 0 == room.redrive(ahead).sent
    assert sorted(reasons) == sorted(value.decode() for value in room.values() if value)


def test_from_start_repeats_the_chosen_ones_only(room: Room) -> None:
    """--from-start of one reason leaves the progress of the others alone."""
    reasons = (Reason.EMPTY, Reason.NOT_JSON)
    room.write(letter(room.source, reason=reason) for reason in reasons)
    assert 2 == room.redrive().sent
    again = Choice(reasons=frozenset([Reason.EMPTY]), from_start=True)
    assert (1, 0) == (room.redrive(again).sent, room.redrive().sent)


def test_picked_offsets_are_sent_as_asked_and_are_no_progress(room: Room) -> None:
    """A range of offsets is sent each time it is asked for; the usual run knows nothing of it."""
    room.write(letter(room.source, value=b"%d" % number) for number in range(5))
    picked = Choice(partition=0, offsets=Span(1, 3))
    assert (2, 2) == (room.redrive(picked).sent, room.redrive(picked).sent)
    assert [b"1", b"2", b"1", b"2"] == room.values()
    assert 5 == room.redrive().sent


def test_dry_run_sends_and_records_nothing(room: Room) -> None:
    """What a dry run counts, the next run sends."""
    room.write(letter(room.source) for _ in range(3))
    assert 3 == room.redrive(dry_run=True).sent
    assert [] == room.values()
    assert 3 == room.redrive().sent


def test_letters_that_keep_coming_back_are_left(room: Room) -> None:
    """The count rises with each return, and at `times_max` the letter stays."""
    producer = Producer(room.kafka.librdkafka())
    for count in (1, 2, 3, 900):
        headers = [*letter(room.source).headers(), (REDRIVEN, b"%d" % count)]
        producer.produce(room.dead_letters, b"x", b"u", partition=0, headers=headers)
    assert 0 == producer.flush(30)
    done = room.redrive(Choice(times_max=3))
    assert (2, 2) == (done.sent, done.exhausted)
    returned = [dict(record.headers())[REDRIVEN] for record in read_all(room.kafka, room.source)]
    assert [b"2", b"3"] == returned


def test_letters_of_another_topic_are_left(room: Room) -> None:
    """A header cannot direct a message to a topic that is not the source."""
    room.write([letter("elsewhere"), letter(room.source)])
    done = room.redrive()
    assert (1, 1) == (done.sent, done.foreign)


def test_an_interrupted_run_is_gone_on_with(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped half way, then run again: every letter is back once."""
    monkeypatch.setattr(module, "COMMIT_LETTERS", 10)
    sent = [b"%d" % number for number in range(100)]
    room.write(letter(room.source, value=value) for value in sent)
    stop = threading.Event()

    def stop_now(_done: Redriven) -> None:
        stop.set()

    done = redrive(
        room.kafka, room.dead_letters, room.source, Choice(), stop=stop, on_progress=stop_now
    )
    assert done.interrupted
    assert 10 == done.sent
    assert 90 == room.redrive().sent
    assert sent == room.values()


def test_letters_not_taken_are_tried_again(room: Room) -> None:
    """A failed delivery ends the run without progress, so that nothing is lost."""
    room.write([letter(room.source, value=b"x" * 900_000)])
    small = room.kafka.librdkafka
    failing = type(
        "Small", (KafkaSettings,), {"librdkafka": lambda _: small() | {"message.max.bytes": "1000"}}
    )()
    done = redrive(failing, room.dead_letters, room.source, Choice())
    assert {"MSG_SIZE_TOO_LARGE": 1} == dict(done.errors)
    assert 1 == room.redrive().sent


def test_aborted_letters_are_not_seen(room: Room) -> None:
    """Letters of a transaction that was given up are no letters; reading ends all the same."""
    room.write([letter(room.source, value=b"before")])
    producer = Producer(room.kafka.librdkafka() | {"transactional.id": room.source})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(room.dead_letters, b"aborted", b"u", partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
    with DeadLetterReader(room.kafka, room.dead_letters) as reader:
        read = list(reader.read(reader.spans()))
    assert [b"before"] == [found.value for found in read]


def test_a_missing_topic_is_named(room: Room) -> None:
    """The error says which topic is missing, and where."""
    with pytest.raises(TopicError, match="topic nowhere does not exist at "):
        redrive(room.kafka, "nowhere", room.source, Choice())
    with pytest.raises(TopicError, match="topic nowhere does not exist at "):
        redrive(room.kafka, room.dead_letters, "nowhere", Choice())
