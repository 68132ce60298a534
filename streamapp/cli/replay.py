"""`streamapp replay`: send recorded traffic to the topic of transactions."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streamapp.cli.errors import UsageError
from streamapp.cli.recordings import recording_path, rows_to_read
from streamapp.cli.sending import event_time, sending_progress, sent_exit_code, sent_sentence
from streamapp.cli.settings import load_settings
from streamapp.cli.signals import stop_on_signals
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
        rows = rows_to_read(path, limit, skip)
        with stop_on_signals() as stop, sending_progress(rows, "replay") as on_progress:
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
    typer.echo(sent_sentence(sent))
    raise typer.Exit(sent_exit_code(sent))


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
        "first_event": event_time(sent.first_event_ms),
        "last_event": event_time(sent.last_event_ms),
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
