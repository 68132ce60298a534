"""`streamapp replay`: send recorded traffic to the topic of transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streamapp.cli.errors import UsageError
from streamapp.cli.recordings import recording_path, rows_to_read
from streamapp.cli.settings import load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.domain.transaction import rfc3339
from streamapp.kafka.metadata import TopicError
from streamapp.replay.errors import RecordedError
from streamapp.replay.producer import Sent, send
from streamapp.replay.reader import recorded
from streamapp.replay.schedule import AtOnce, EventTime, FixedRate, Schedule


class Partitioner(StrEnum):
    """How a key finds its partition: as Java's producers do, or as librdkafka does unasked."""

    MURMUR2 = "murmur2_random"
    CRC32 = "consistent_random"


def replay(
    file: Annotated[
        str,
        typer.Argument(help="A .parquet, .csv or .jsonl file, or sample:sparkov, sample:handbook."),
    ],
    *,
    rate: Annotated[float | None, typer.Option(help="Messages a second, evenly spaced.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Times as fast as it happened.")] = None,
    at_most: Annotated[bool, typer.Option("--max", help="As fast as the broker takes it.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Send this many rows at most.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out this many rows first.")] = 0,
    partitioner: Annotated[
        Partitioner, typer.Option(help="Leave it alone unless to try a foreign producer.")
    ] = Partitioner.MURMUR2,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file.")] = None,
) -> None:
    """Send recorded traffic to the topic of transactions, at a rate, a speed-up, or at once.

    Exit code 0: all acknowledged; 1: deliveries failed; 130: interrupted.
    """
    schedule = _schedule(rate, speedup, at_most)
    settings = load_settings(config)
    path = recording_path(file)
    try:
        with stop_on_signals() as stop, _progress(rows_to_read(path, limit, skip)) as on_progress:
            sent = send(
                recorded(path, limit=limit, skip=skip),
                kafka=settings.kafka,
                topic=settings.topics.name("transactions"),
                schedule=schedule,
                partitioner=partitioner.value,
                stop=stop,
                on_progress=on_progress,
            )
    except (TopicError, RecordedError) as error:
        raise UsageError(str(error)) from error
    if json:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(figures(sent)), indent=2))
    typer.echo(_sentence(sent))
    raise typer.Exit(130 if sent.interrupted else 0 if sent.complete else 1)


def figures(sent: Sent) -> dict[str, Any]:
    """The figures of a replay as `--json` writes them; times of events as RFC 3339."""
    return {
        "topic": sent.topic,
        "partitions": sent.partitions,
        "sent": sent.sent,
        "acknowledged": sent.acknowledged,
        "failed": sent.failed,
        "unacknowledged": sent.waiting,
        "bytes": sent.bytes,
        "wall_s": round(sent.wall_s, 3),
        "per_s": round(sent.per_s, 1),
        "behind_schedule_s_max": round(sent.behind_s_max, 4),
        "first_event": _event(sent.first_event_ms),
        "last_event": _event(sent.last_event_ms),
        "interrupted": sent.interrupted,
        "errors": dict(sorted(sent.errors.items())),
    }


def _schedule(rate: float | None, speedup: float | None, at_most: bool) -> Schedule:
    if [rate is not None, speedup is not None, at_most].count(True) != 1:
        raise UsageError("say how fast: exactly one of --rate, --speedup, --max")
    try:
        if rate is not None:
            return FixedRate(rate)
        return AtOnce() if speedup is None else EventTime(speedup)
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextmanager
def _progress(rows: int | None) -> Iterator[Any]:
    """A bar on standard error: sent, acknowledged, rate, event time reached."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} sent"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replay", total=rows, state="")

        def show(sent: Sent) -> None:
            state = f"{sent.acknowledged:,} acknowledged, {sent.per_s:,.0f}/s"
            reached = (_event(sent.last_event_ms) or "no event time")[: len("2026-03-01T12:00")]
            progress.update(task, completed=sent.sent, state=f"{state}, at {reached}")

        yield show


def _sentence(sent: Sent) -> str:
    parts = [f"{sent.sent:,} sent to {sent.topic}", f"{sent.acknowledged:,} acknowledged"]
    if sent.failed:
        named = ", ".join(f"{name} {count:,}" for name, count in sorted(sent.errors.items()))
        parts.append(f"{sent.failed:,} failed ({named})")
    if sent.waiting:
        parts.append(f"{sent.waiting:,} not acknowledged in time")
    parts.append(f"{sent.wall_s:.1f} s, {sent.per_s:,.0f}/s")
    if sent.last_event_ms is not None:
        parts.append(f"events up to {_event(sent.last_event_ms)}")
    return ("interrupted: " if sent.interrupted else "") + "; ".join(parts)


def _event(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)
