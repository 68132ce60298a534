"""`streamapp dlq`: what it prints can be read, piped, and cannot steer a terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamapp.cli import dlq
from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings
from streamapp.domain.dead_letter import Reason
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from tests.kafka.records import letter, read_all, write_letters

HOSTILE = b'{"user_id":"\x1b]0;owned\x07\x9b31m","\xe2\x80\xae":"[red]"}\r\n'


@given(st.binary())
def test_escaped_text_is_printable(data: bytes) -> None:
    """No control character, line break or text-direction mark gets through."""
    assert all(char.isprintable() for char in dlq.escaped(data))


@given(st.text().filter(str.isprintable))
def test_printable_text_is_left_as_it_is(text: str) -> None:
    """What can be printed is shown as it stands."""
    assert text == dlq.escaped(text.encode())


class Command:
    """Runs `streamapp dlq` against the topics of one test."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings
    ) -> None:
        self.source = topics.name("transactions")
        settings = Settings(kafka=kafka, topics=topics)
        monkeypatch.setattr(dlq, "load_settings", lambda _file: settings)

    def __call__(self, *arguments: str, code: int = 0) -> bytes:
        result = CliRunner().invoke(dlq.app, arguments, env={"COLUMNS": "200"})
        if isinstance(result.exception, UsageError):
            raise result.exception
        assert code == result.exit_code, result.output
        return result.stdout_bytes


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, kafka: KafkaSettings, topics: TopicSettings
) -> Command:
    """The command with letters of three kinds in two partitions."""
    source = topics.name("transactions")
    bad_amount = {"reason": Reason.OUT_OF_RANGE, "field": "amount"}
    write_letters(
        kafka,
        topics.name("dead_letters"),
        [
            letter(source, value=HOSTILE, key=b"\x1b[2J"),
            letter(source, **bad_amount),
            letter(source, **bad_amount),
            letter(source, partition=3, reason=Reason.EMPTY, key=None, value=None),
        ],
    )
    return Command(monkeypatch, kafka, topics)


@pytest.mark.integration
def test_list_counts_by_reason_field_and_partition(command: Command) -> None:
    """JSON has a row for each, with first and last offset; a reason leaves out the others."""
    groups = json.loads(command("list", "--json"))
    rows = [(g["reason"], g["field"], g["partition"], g["count"]) for g in groups]
    expected = [("empty", "", 3, 1), ("not_json", "", 0, 1), ("out_of_range", "amount", 0, 2)]
    assert expected == rows
    assert (1, 2) == (groups[2]["first_offset"], groups[2]["last_offset"])
    assert groups[2:] == json.loads(command("list", "--json", "--reason", "out_of_range"))


@pytest.mark.integration
def test_list_prints_a_table(command: Command) -> None:
    """The table holds the reasons; where there is nothing it says so."""
    table = command("list").decode()
    assert "4 dead letters in " in table
    assert "out_of_range" in table
    assert b"no dead letters in " in command("list", "--reason", "too_large")


@pytest.mark.integration
def test_show_escapes_what_is_not_printable(command: Command) -> None:
    """Headers, key and value of a hostile message come out as plain text."""
    shown = command("show", "0", "0").decode()
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert r'{"user_id":"\x1b]0;owned\x07\x9b31m","\u202e":"[red]"}\r\n' in shown
    assert r"\x1b[2J" in shown
    assert "dlq.reason       not_json" in shown


@pytest.mark.integration
def test_show_raw_is_the_bytes_alone(command: Command) -> None:
    """--raw writes the value as it was received."""
    assert command("show", "0", "0", "--raw") == HOSTILE


@pytest.mark.integration
def test_show_tells_null_from_empty(command: Command) -> None:
    """A null key and value are said to be null."""
    assert 2 == command("show", "3", "0").count(b"(null)")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "0", "99"), r"no dead letter at offset 99 of .*\[0\], which holds 0 up to 2"),
        (("show", "7", "0"), "has no partition 7"),
        (("redrive", "--from-offset", "1"), "add --partition"),
        (
            ("redrive", "--partition", "0", "--from-offset", "3", "--to-offset", "1"),
            "--from-offset 3 is after --to-offset 1",
        ),
        (("redrive", "--partition", "7"), "there is no partition 7, only 0 to 3"),
    ],
)
def test_mistakes_are_usage_errors(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    """A mistake of the user's is one line that says how to mend it."""
    with pytest.raises(UsageError, match=message):
        command(*arguments)


@pytest.mark.integration
def test_redrive_says_what_it_did(command: Command, kafka: KafkaSettings) -> None:
    """A dry run says what would be sent, a run what was sent, the next one what was done before."""
    assert b"4 would be sent back\n" == command("redrive", "--dry-run")
    assert b"2 sent back; 2 of other reasons\n" == command("redrive", "--reason", "out_of_range")
    assert b"2 sent back; 2 redriven before\n" == command("redrive")
    assert 4 == len(read_all(kafka, command.source))
