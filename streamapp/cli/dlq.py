"""`streamapp dlq`: look at dead letters and send them back."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings, load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.domain.dead_letter import Reason
from streamapp.domain.transaction import rfc3339
from streamapp.kafka.dead_letters import REASONS, DeadLetterReader, Letter
from streamapp.kafka.metadata import TopicError
from streamapp.kafka.redrive import Choice, Redriven, redrive
from streamapp.kafka.topic_reader import Span

app = typer.Typer(help="Dead letters: list them, show one, send them back.", no_args_is_help=True)

#: Bytes of a value shown on a terminal; `--raw` writes them all.
SHOWN_BYTES_MAX = 4_096

Config = Annotated[Path | None, typer.Option("--config", help="Settings file.")]
OfLabels = Annotated[bool, typer.Option("--labels", help="Dead letters of labels.")]
OfReason = Annotated[Reason | None, typer.Option("--reason", help="Only letters of this reason.")]


class Group(msgspec.Struct):
    """Letters of one reason and field in one partition."""

    reason: str
    field: str
    partition: int
    count: int
    first_offset: int
    last_offset: int
    last_written: str


def escaped(data: bytes) -> str:
    """Bytes as text that cannot steer a terminal: what is not printable becomes an escape."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


@app.command("list")
def list_letters(
    reason: OfReason = None,
    labels: OfLabels = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
    config: Config = None,
) -> None:
    """Count the dead letters by reason, field and partition."""
    with _reader(load_settings(config), labels) as reader:
        groups = grouped(reader.read(reader.spans()), reason)
        topic = reader.topic
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(groups), indent=2))
        return
    if not groups:
        typer.echo(f"no dead letters in {topic}" + (f" of reason {reason}" if reason else ""))
        return
    Console().print(_table(groups, topic))


@app.command("show")
def show(
    partition: Annotated[int, typer.Argument(min=0)],
    offset: Annotated[int, typer.Argument(min=0)],
    raw: Annotated[bool, typer.Option("--raw", help="Write the value's bytes, only them.")] = False,
    labels: OfLabels = False,
    config: Config = None,
) -> None:
    """Show one dead letter: its headers, key and value, escaped for a terminal."""
    with _reader(load_settings(config), labels) as reader:
        letter = _at(reader, partition, offset)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
        return
    for line in _described(letter):
        typer.echo(line)


@app.command("redrive")
def redrive_letters(
    *,
    reason: OfReason = None,
    labels: OfLabels = False,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="First offset picked.")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="Last offset picked.")] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Repeat what was redriven before.")
    ] = False,
    max_times: Annotated[
        int, typer.Option(min=1, max=1_000, help="Leave letters that came back this often.")
    ] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, but send nothing.")] = False,
    config: Config = None,
) -> None:
    """Send dead letters back to the topic they came from, bytes and key unchanged.

    A second run goes on where the first stopped. Offsets picked by hand (--from-offset,
    --to-offset, with --partition) are sent as asked and are no progress.
    Exit code 0: done; 1: a delivery failed; 130: interrupted.
    """
    settings = load_settings(config)
    choice = Choice(
        reasons=frozenset([reason.value] if reason else REASONS),
        partition=partition,
        offsets=_picked(partition, from_offset, to_offset),
        from_start=from_start,
        times_max=max_times,
    )
    with _topic_errors(), stop_on_signals() as stop, _progress() as on_progress:
        done = redrive(
            settings.kafka,
            settings.topics.name(_dead_letters(labels)),
            settings.topics.name("labels" if labels else "transactions"),
            choice,
            dry_run=dry_run,
            stop=stop,
            on_progress=on_progress,
        )
    typer.echo(_sentence(done, dry_run))
    raise typer.Exit(1 if done.failed else 130 if done.interrupted else 0)


def grouped(letters: Iterable[Letter], reason: str | None = None) -> list[Group]:
    """Counts by reason, field and partition, in that order; `reason` leaves out the others."""
    groups: dict[tuple[str, str, int], Group] = {}
    for letter in letters:
        if reason is not None and letter.reason != reason:
            continue
        field = escaped(letter.text("dlq.field").encode())
        key = (letter.reason, field, letter.partition)
        group = groups.setdefault(key, Group(*key, 0, letter.offset, letter.offset, ""))
        group.count += 1
        group.last_offset = letter.offset
        group.last_written = rfc3339(letter.time_ms)
    return [groups[key] for key in sorted(groups)]


def _table(groups: list[Group], topic: str) -> Table:
    table = Table(title=f"{sum(group.count for group in groups):,} dead letters in {topic}")
    for name in ("reason", "field"):
        table.add_column(name)
    for name in ("partition", "letters", "first offset", "last offset", "last written"):
        table.add_column(name, justify="right")
    for group in groups:
        texts = (
            group.reason,
            group.field,
            str(group.partition),
            f"{group.count:,}",
            str(group.first_offset),
            str(group.last_offset),
            group.last_written,
        )
        table.add_row(*map(Text, texts))
    return table


def _at(reader: DeadLetterReader, partition: int, offset: int) -> Letter:
    span = reader.spans().get(partition)
    if span is None:
        raise UsageError(f"{reader.topic} has no partition {partition}")
    if span.start <= offset < span.end:
        for letter in reader.read({partition: Span(offset, offset + 1)}):
            return letter
    raise UsageError(
        f"no dead letter at offset {offset} of {reader.topic}[{partition}],"
        f" which holds {span.start} up to {span.end - 1}"
    )


def _described(letter: Letter) -> Iterator[str]:
    yield f"partition {letter.partition}, offset {letter.offset}, {rfc3339(letter.time_ms)}"
    for name, value in letter.headers:
        yield f"{escaped(name.encode()):<16} {escaped(value)}"
    yield f"{'key':<16} {'(null)' if letter.key is None else escaped(letter.key)}"
    if letter.value is None:
        yield f"{'value':<16} (null)"
        return
    yield f"{'value':<16} {len(letter.value):,} bytes"
    yield escaped(letter.value[:SHOWN_BYTES_MAX])
    if len(letter.value) > SHOWN_BYTES_MAX:
        yield f"({len(letter.value) - SHOWN_BYTES_MAX:,} more bytes: --raw writes them all)"


def _picked(partition: int | None, first: int | None, last: int | None) -> Span | None:
    if first is None and last is None:
        return None
    if partition is None:
        raise UsageError("offsets are those of one partition: add --partition")
    span = Span(first or 0, sys.maxsize if last is None else last + 1)
    if span.start >= span.end:
        raise UsageError(f"--from-offset {first} is after --to-offset {last}")
    return span


def _sentence(done: Redriven, dry_run: bool) -> str:
    parts = [f"{done.sent:,} {'would be sent back' if dry_run else 'sent back'}"]
    others = {
        "redriven before": done.done_before,
        "of other reasons": done.not_chosen,
        "left after --max-times returns": done.exhausted,
        "left, of another source topic": done.foreign,
    }
    parts += [f"{count:,} {what}" for what, count in others.items() if count]
    if done.failed:
        named = ", ".join(f"{name} {count:,}" for name, count in sorted(done.errors.items()))
        parts.append(f"{done.failed:,} failed ({named}); run it again to go on")
    return ("interrupted: " if done.interrupted else "") + "; ".join(parts)


@contextmanager
def _reader(settings: Settings, labels: bool) -> Iterator[DeadLetterReader]:
    topic = settings.topics.name(_dead_letters(labels))
    with _topic_errors(), DeadLetterReader(settings.kafka, topic) as reader:
        yield reader


def _dead_letters(labels: bool) -> Literal["dead_letters", "label_dead_letters"]:
    return "label_dead_letters" if labels else "dead_letters"


@contextmanager
def _topic_errors() -> Iterator[None]:
    try:
        yield
    except TopicError as error:
        raise UsageError(str(error)) from error


@contextmanager
def _progress() -> Iterator[Callable[[Redriven], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} sent back"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("redrive", total=None)
        yield lambda done: progress.update(task, completed=done.sent)
