# ruff: noqa: PLC0415 - scikit-learn and compiled kernels take seconds to load
"""`streamapp evaluate`: how well the pipeline finds fraud in recorded traffic with labels."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamapp.cli.durations import duration_ms
from streamapp.cli.errors import UsageError
from streamapp.cli.recordings import recording_path, rows_to_read
from streamapp.cli.settings import load_settings

if TYPE_CHECKING:
    from streamapp.lifecycle.evaluation.backtest import Plan
    from streamapp.lifecycle.evaluation.report import Evaluation, SeverityFigures
    from streamapp.lifecycle.evaluation.traffic import Piece
    from streamapp.replay.brokerless import RecordedTopic
    from streamapp.replay.reader import RecordedBatch

_DAY_MS: Final = 86_400_000

#: The protocol of Le Borgne et al. (2022): days trained on, and days of the test.
_HANDBOOK_DAYS: Final = 7

#: Columns that the widest table takes; a narrower terminal wraps lines, not cells.
_TABLE_WIDTH: Final = 110


class Protocol(StrEnum):
    """How models follow each other."""

    LIVE = "live"
    HANDBOOK = "handbook"


_Test = Annotated[
    str,
    typer.Option(
        help="Recording to measure on: .parquet, .csv, .jsonl or sample:NAME, with is_fraud."
    ),
]
_History = Annotated[
    str | None, typer.Option(help="Traffic that went before: learned from, not measured.")
]
_From = Annotated[
    datetime | None,
    typer.Option("--from", help="Measure from here on; what is before is history.  [UTC]"),
]
_Protocol = Annotated[
    Protocol,
    typer.Option(
        help="live: models are trained again all along; handbook: trained on 7 days, delay,"
        " tested on the next 7, cards known as compromised left out."
    ),
]
_LabelDelay = Annotated[
    str, typer.Option(help="How long after a payment its label is known: 7d, 36h.")
]
_LabelDays = Annotated[
    int,
    typer.Option(
        min=0,
        max=730,
        help="Days of labelled payments the supervised model is trained on; 0: there is none.",
    ),
]
_TrainDays = Annotated[int, typer.Option(min=1, max=365, help="Days each model is trained on.")]
_RefitDays = Annotated[
    int, typer.Option(min=0, max=365, help="Days between two models; 0: one for the whole test.")
]
_Model = Annotated[
    Path | None, typer.Option(help="Directory of a model to measure; nothing is trained then.")
]
_Partitions = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Partitions of the topic.  [4]")
]
_Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of all chance.")]
_Bootstrap = Annotated[
    int, typer.Option(min=0, max=10_000, help="Replicates behind the intervals; 0: none.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
_Report = Annotated[Path | None, typer.Option(help="Write a page with curves, .html.")]
_Config = Annotated[Path | None, typer.Option(help="Settings file.")]


@dataclass(frozen=True, slots=True)
class _Request:
    """The command line in its own words. paths: history, where there is one, and test."""

    paths: list[Path]
    start: datetime | None
    protocol: Protocol
    label_delay_ms: int
    label_days: int
    train_days: int
    refit_days: int
    model: Path | None
    partitions: int
    seed: int
    replicates: int
    time_zone: str


def evaluate(
    test: _Test,
    *,
    history: _History = None,
    start: _From = None,
    protocol: _Protocol = Protocol.LIVE,
    label_delay: _LabelDelay = "7d",
    label_days: _LabelDays = 120,
    train_days: _TrainDays = 28,
    refit_days: _RefitDays = 7,
    model: _Model = None,
    partitions: _Partitions = None,
    seed: _Seed = 0,
    bootstrap: _Bootstrap = 200,
    as_json: _Json = False,
    report: _Report = None,
    config: _Config = None,
) -> None:
    """Measure detection: run the pipeline over recorded traffic as if live, then compare labels.

    The features, models and severities are the worker's own. The ensemble is trained without labels
    on the days before; the supervised model on labels that are known by then.
    """
    from streamapp.lifecycle.evaluation.backtest import EvaluationError
    from streamapp.lifecycle.training import TrainingError
    from streamapp.replay.errors import RecordedError
    from streamapp.scoring.artifact import ArtifactError

    settings = load_settings(config)
    request = _Request(
        paths=[recording_path(name) for name in (history, test) if name],
        start=start,
        protocol=protocol,
        label_delay_ms=duration_ms("--label-delay", label_delay),
        label_days=label_days,
        train_days=train_days,
        refit_days=refit_days,
        model=model,
        partitions=partitions or settings.topics.partitions,
        seed=seed,
        replicates=bootstrap,
        time_zone=settings.worker.time_zone,
    )
    try:
        evaluation = _evaluated(request)
        if report:
            _write_report(evaluation, test, report)
    except (ArtifactError, EvaluationError, RecordedError, TrainingError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or report}: {error.strerror}") from error
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(evaluation.document())).decode())
    else:
        _print(evaluation)


def _evaluated(request: _Request) -> "Evaluation":
    from streamapp.lifecycle.evaluation.backtest import backtest
    from streamapp.lifecycle.evaluation.report import KnownCards, evaluate

    plan = _plan(request)
    known_cards = None
    if request.protocol == Protocol.HANDBOOK:
        from_ms = plan.test_from_ms - plan.train_gap_ms - plan.train_ms
        known_cards = KnownCards(from_ms, request.label_delay_ms)
    with _progress(request.paths) as (advance, say):
        outcome = backtest(_batches(request), plan, advance)
        say("measuring")
        return evaluate(
            outcome, replicates=request.replicates, seed=request.seed, known_cards=known_cards
        )


def _plan(request: _Request) -> "Plan":
    from streamapp.lifecycle.evaluation.backtest import Plan
    from streamapp.scoring.artifact import load
    from streamapp.scoring.policy import Policy

    is_handbook = request.protocol == Protocol.HANDBOOK
    week_ms = _HANDBOOK_DAYS * _DAY_MS
    return Plan(
        test_from_ms=_start_ms(request),
        train_ms=week_ms if is_handbook else request.train_days * _DAY_MS,
        train_gap_ms=request.label_delay_ms if is_handbook else 0,
        refit_ms=0 if is_handbook else request.refit_days * _DAY_MS,
        test_ms=week_ms if is_handbook else 0,
        seed=request.seed,
        label_delay_ms=request.label_delay_ms,
        label_train_ms=_label_train_ms(request),
        model=load(request.model) if request.model else None,
        policy=Policy(time_zone=request.time_zone),
    )


def _label_train_ms(request: _Request) -> int:
    if request.protocol == Protocol.HANDBOOK and request.label_days:
        return _HANDBOOK_DAYS * _DAY_MS
    return request.label_days * _DAY_MS


def _start_ms(request: _Request) -> int:
    """When the test begins: as told, else with the first row of its recording."""
    from streamapp.replay.reader import TIME_UNKNOWN, recorded

    if request.start is not None:
        return round(request.start.replace(tzinfo=UTC).timestamp()) * 1_000
    if len(request.paths) == 1:
        raise UsageError(
            "there is nothing to learn from: give --history, or --from a day of --test"
        )
    for batch in recorded(request.paths[-1]):
        known = batch.time_ms[batch.time_ms != TIME_UNKNOWN]
        if len(known):
            return int(known[0])
    raise UsageError(f"{request.paths[-1]}: there is not one transaction in it")


def _batches(request: _Request) -> "Iterator[list[Piece]]":
    """History and test as records of one topic."""
    from streamapp.replay.brokerless import RecordedTopic
    from streamapp.replay.reader import recorded

    topic = RecordedTopic("evaluation", request.partitions)
    for batch in chain.from_iterable(recorded(path) for path in request.paths):
        yield _placed(topic, batch)


def _placed(topic: "RecordedTopic", batch: "RecordedBatch") -> "list[Piece]":
    from streamapp.lifecycle.evaluation.traffic import Piece
    from streamapp.replay.columns import LABEL_UNKNOWN

    scenarios = batch.scenarios
    if scenarios is None:
        scenarios = np.full(len(batch), LABEL_UNKNOWN, np.int16)
    return [
        Piece(records, batch.labels[rows], scenarios[rows]) for rows, records in topic.place(batch)
    ]


def _write_report(evaluation: "Evaluation", test: str, path: Path) -> None:
    from streamapp.lifecycle.evaluation.page import page

    command = shlex.join(["streamapp", *sys.argv[1:]])
    path.write_text(page(evaluation, f"Detection on {Path(test).name}", command), encoding="utf-8")


@contextmanager
def _progress(paths: list[Path]) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A bar on standard error over the rows read; the second function changes its words."""
    counts = [rows_to_read(path) for path in paths]
    known = [count for count in counts if count is not None]
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        total = sum(known) if len(known) == len(counts) else None
        task = progress.add_task("reading, training, scoring", total=total)
        yield (
            lambda count: progress.advance(task, count),
            lambda words: progress.update(task, description=words),
        )


def _print(evaluation: "Evaluation") -> None:
    terminal = Console()
    console = Console(width=max(terminal.width, _TABLE_WIDTH))
    console.print(
        f"{evaluation.rows:,} transactions, {evaluation.frauds:,} fraud;"
        f" {evaluation.history:,} of history; {evaluation.models} models trained,"
        f" {evaluation.supervised_models} of them on labels too"
    )
    console.print(_score_table(evaluation))
    console.print(_alert_table(evaluation))
    console.print(_severity_table(evaluation))
    if evaluation.scenarios:
        console.print(_scenario_table(evaluation))


def _score_table(evaluation: "Evaluation") -> Table:
    """Figures over the whole ranking, with 95 % intervals."""
    from streamapp.lifecycle.evaluation.page import figure_words, score_words

    table = Table("score", box=None, title="how well each score ranks", title_justify="left")
    for words in ("average precision", "AUC", "Card Precision@100"):
        table.add_column(words, justify="right")
    for one in evaluation.judged.values():
        names = ("average_precision", "auc_roc", "card_precision_at_100")
        figures = (figure_words(one.figures[name], one.intervals.get(name)) for name in names)
        table.add_row(score_words(one.name), *figures)
    return table


def _alert_table(evaluation: "Evaluation") -> Table:
    """What is found among the most suspicious 0.1 % and 1 %."""
    from streamapp.lifecycle.evaluation.page import figure_words, score_words
    from streamapp.lifecycle.evaluation.ranking import ALERT_SHARES

    title = "at the most suspicious share: recall, precision, recall of the amount"
    table = Table("score", box=None, title=title, title_justify="left")
    kinds = ("recall", "precision", "value_recall")
    for share in ALERT_SHARES.values():
        for kind in ("recall", "precision", "amount"):
            table.add_column(f"{kind} {share:.1%}", justify="right")
    for one in evaluation.judged.values():
        figures = (one.figures[f"{kind}_at_{share}"] for share in ALERT_SHARES for kind in kinds)
        table.add_row(score_words(one.name), *map(figure_words, figures))
    return table


def _severity_table(evaluation: "Evaluation") -> Table:
    """Share and precision of each severity or worse, overall and by week."""
    table = Table("severity or worse", box=None, title="severities", title_justify="left")
    table.add_column("transactions", justify="right")
    for name in evaluation.severity:
        table.add_column(name, justify="right")
        table.add_column("precision", justify="right", style="dim")
    table.add_row("all", f"{evaluation.rows:,}", *_severity_cells(evaluation.severity))
    for week in evaluation.weeks:
        day = datetime.fromtimestamp(week.start_ms / 1_000, UTC)
        table.add_row(f"from {day:%Y-%m-%d}", f"{week.rows:,}", *_severity_cells(week.severity))
    return table


def _severity_cells(severity: dict[str, "SeverityFigures"]) -> list[str]:
    from streamapp.lifecycle.evaluation.page import figure_words

    pairs = ((f"{o.share_or_worse:.2%}", figure_words(o.precision)) for o in severity.values())
    return [cell for pair in pairs for cell in pair]


def _scenario_table(evaluation: "Evaluation") -> Table:
    from streamapp.lifecycle.evaluation.page import figure_words, score_words

    names = list(evaluation.judged)
    title = "average precision of each kind of fraud against genuine traffic"
    table = Table("scenario", "fraud", box=None, title=title, title_justify="left")
    for name in names:
        table.add_column(score_words(name), justify="right")
    for one in evaluation.scenarios:
        figures = (figure_words(one.average_precision.get(name)) for name in names)
        table.add_row(str(one.number), f"{one.frauds:,}", *figures)
    return table
