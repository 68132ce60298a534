# ruff: noqa: PLC0415 - compiled kernels take a while to load; other commands need not wait
"""`streamapp score`: recorded traffic in, verdicts out, without a broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from streamapp.cli.errors import UsageError
from streamapp.cli.recordings import recording_path, rows_to_read
from streamapp.cli.settings import Settings, load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.domain.verdict import SEVERITIES
from streamapp.replay.reader import BATCH_ROWS

if TYPE_CHECKING:
    from streamapp.replay.brokerless import BrokerlessRun
    from streamapp.replay.score_file import ScoreFigures, ScoreJob

EXIT_INTERRUPTED = 130


def score(
    recording: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A .parquet, .csv or .jsonl file, or sample:sparkov, sample:handbook.",
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option(help="Verdicts: .jsonl as published, or .parquet for analysts.")
    ],
    history: Annotated[
        str | None,
        typer.Option(help="Traffic that went before: it is learned from, not written."),
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Partitions of the topic.  [4]")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Name of the topic in the verdicts; by default the worker's.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Directory of a model; by default the worker's.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=65_536, help="Rows scored at once; changes no verdict.")
    ] = BATCH_ROWS,
    limit: Annotated[int | None, typer.Option(min=0, help="Score this many rows at most.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out this many rows first.")] = 0,
    config: Annotated[Path | None, typer.Option(help="Settings file.")] = None,
) -> None:
    """Score recorded traffic: byte for byte the verdicts that a worker publishes for it.

    Messages that are no transactions go to OUTPUT.dlq.jsonl.
    Exit code 0: done; 2: bad input; 130: interrupted. Files appear only when all is done.
    """
    from streamapp.replay.errors import RecordedError
    from streamapp.replay.score_file import InterruptedRun, ScoreJob
    from streamapp.scoring.artifact import ArtifactError

    settings = load_settings(config)
    earlier = recording_path(history) if history else None
    job = ScoreJob(recording_path(recording), output, earlier, limit, skip, batch)
    try:
        figures, wall_s = _score(_run(settings, model, topic, partitions), job)
    except InterruptedRun:
        typer.echo("interrupted: nothing was written", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (ArtifactError, RecordedError, ValueError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or output}: {error.strerror}") from error
    Console(stderr=True).print(_table(figures, wall_s))


def _run(
    settings: Settings, model: Path | None, topic: str | None, partitions: int | None
) -> "BrokerlessRun":
    from streamapp.replay.brokerless import BrokerlessRun
    from streamapp.scoring.artifact import load
    from streamapp.scoring.default_model import default_model_dir
    from streamapp.scoring.policy import Policy

    return BrokerlessRun(
        load(model or settings.worker.model_dir or default_model_dir()),
        Policy(
            anomaly_severity=settings.topics.anomaly_severity,
            explain_severity=settings.worker.explain_severity,
            time_zone=settings.worker.time_zone,
        ),
        topic=topic or settings.topics.name("transactions"),
        partitions=partitions or settings.topics.partitions,
    )


def _score(run: "BrokerlessRun", job: "ScoreJob") -> tuple["ScoreFigures", float]:
    from streamapp.replay.score_file import score_file

    earlier = rows_to_read(job.history) if job.history else 0
    rows = rows_to_read(job.recording, job.limit, job.skip)
    total = None if earlier is None or rows is None else earlier + rows
    started = perf_counter()
    with stop_on_signals() as stop, _progress(total) as on_progress:
        figures = score_file(run, job, stop=stop, on_progress=on_progress)
    return figures, perf_counter() - started


@contextmanager
def _progress(rows: int | None) -> Iterator[Callable[["ScoreFigures"], None]]:
    """A bar on standard error over history and recording."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} scored"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[found]:,} anomalies"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("score", total=rows, found=0)

        def show(figures: "ScoreFigures") -> None:
            done = figures.history + figures.transactions
            progress.update(task, completed=done, found=sum(figures.severities[1:]))

        yield show


def _table(figures: "ScoreFigures", wall_s: float) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    if figures.history:
        table.add_row("history", f"{figures.history:,}")
    table.add_row("transactions", f"{figures.transactions:,}")
    table.add_row("verdicts", f"{figures.verdicts:,}")
    for severity, count in zip(SEVERITIES, figures.severities, strict=True):
        share = count / figures.verdicts if figures.verdicts else 0.0
        table.add_row(f"  {severity.value}", f"{count:,}", f"{share:.2%}")
    table.add_row("dead letters", f"{figures.dead_letters:,}")
    table.add_row("duplicates", f"{figures.duplicates:,}")
    table.add_row("late", f"{figures.late:,}")
    rate = (figures.history + figures.transactions) / wall_s
    table.add_row("seconds", f"{wall_s:.1f}", f"{rate:,.0f}/s")
    return table
