# ruff: noqa: PLC0415 - scikit-learn and River take seconds to load; other commands need not wait
"""`streamapp train`: recorded or logged traffic in, a model artifact with its card out."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamapp.cli.durations import duration_ms
from streamapp.cli.errors import UsageError
from streamapp.cli.recordings import recording_path, rows_to_read
from streamapp.cli.settings import load_settings
from streamapp.domain.verdict import SEVERITIES
from streamapp.replay.errors import RecordedError
from streamapp.replay.sample import TRAINING_ROWS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamapp.cli.settings import Settings
    from streamapp.lifecycle.labels import Labels
    from streamapp.lifecycle.model_card import TrainingFile
    from streamapp.lifecycle.training import Reference
    from streamapp.replay.reader import RecordedBatch
    from streamapp.scoring.artifact import ModelArtifact
    from streamapp.scoring.process import Records

#: The recipe of the shipped model.
SAMPLES = ("sample:handbook", "sample:sparkov")
SEED = 20_260


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What makes a model what it is, in the words of the command line."""

    names: tuple[str, ...]
    limit: int | None
    partitions: int
    seed: int
    inputs: tuple[str, ...]
    time_zone: str
    from_topics: bool
    labels: Path | None
    labels_topic: bool
    label_delay: str

    @property
    def description(self) -> str:
        """One line for the manifest."""
        zone = "" if self.time_zone == "UTC" else f", hours in {self.time_zone}"
        if self.from_topics:
            rows = "all" if self.limit is None else f"the newest {self.limit:,}"
            return f"{rows} vectors logged in {self.names[0]}{zone}"
        rows = "all rows" if self.limit is None else f"the first {self.limit:,} rows"
        names = ", ".join(self.names)
        return f"{rows} of each of {names}; {self.partitions} partitions{zone}"

    @property
    def command(self) -> str:
        """The command that makes the model again."""
        limit = "" if self.limit is None else f" --limit {self.limit}"
        places = f"{' '.join(self.names)}{limit} --partitions {self.partitions}"
        return (
            f"streamapp train {f'--from-topics{limit}' if self.from_topics else places}"
            f" --seed {self.seed} --inputs {','.join(self.inputs)}{self._label_options}"
            " --output DIR"
        )

    @property
    def _label_options(self) -> str:
        if self.labels is None and not self.labels_topic:
            return ""
        given = "--labels-topic" if self.labels is None else f"--labels {self.labels}"
        return f" {given} --label-delay {self.label_delay}"


_Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Recordings: .parquet, .csv, .jsonl or sample:NAME. Without any, those of the"
        " shipped model and its limit.",
    ),
]
_Partitions = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Partitions of the topic.  [4]")
]
_Limit = Annotated[
    int | None,
    typer.Option(min=1, help="Read this many rows of each file at most; of topics, the newest."),
]
_Inputs = Annotated[
    str | None, typer.Option(help="Features the models look at, with commas between.")
]
_FromTopics = Annotated[
    bool,
    typer.Option(
        "--from-topics", help="Train on the vectors that workers logged in the topic of verdicts."
    ),
]
_Labels = Annotated[
    Path | None,
    typer.Option(
        help="What was fraud, .parquet or .csv with tx_id, user_id, is_fraud, label_time:"
        " adds a supervised model."
    ),
]
_LabelsTopic = Annotated[
    bool, typer.Option("--labels-topic", help="The same, of the labels that stand in their topic.")
]
_LabelDelay = Annotated[
    str, typer.Option(help="How long before a day its risk windows end: 7d, 36h.")
]


def train(
    files: _Files = None,
    *,
    output: Annotated[Path, typer.Option(help="Directory for the model.")] = Path("models/default"),
    partitions: _Partitions = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of all chance.")] = SEED,
    limit: _Limit = None,
    inputs: _Inputs = None,
    from_topics: _FromTopics = False,
    labels: _Labels = None,
    labels_topic: _LabelsTopic = False,
    label_delay: _LabelDelay = "7d",
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file.")] = None,
) -> None:
    """Train a model on recorded traffic and write it with its model card."""
    from streamapp.kafka.metadata import TopicError
    from streamapp.lifecycle import training
    from streamapp.lifecycle.model_card import NAME, model_card
    from streamapp.scoring.artifact import save

    if not force and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty; add --force to write over it")
    if from_topics and (files or partitions):
        raise UsageError("--from-topics takes no FILE and no --partitions")
    settings = load_settings(config)
    samples = () if from_topics else SAMPLES
    recipe = _Recipe(
        names=tuple(files or samples or [settings.topics.name("verdicts")]),
        limit=TRAINING_ROWS if samples and not (files or limit) else limit,
        partitions=partitions or settings.topics.partitions,
        seed=seed,
        inputs=_names(inputs) or training.DEFAULT_INPUTS,
        time_zone=settings.worker.time_zone,
        from_topics=from_topics,
        labels=labels,
        labels_topic=labels_topic,
        label_delay=label_delay,
    )
    _verify(recipe)
    try:
        model, severities, files_read = _trained(recipe, settings)
        save(model, output)
        card = model_card(model, files_read, severities, recipe.command)
        (output / NAME).write_text(card, encoding="utf-8")
    except (RecordedError, TopicError, training.TrainingError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or output}: {error.strerror}") from error
    typer.echo(f"{model.version} written to {output}")
    Console(stderr=True).print(_table(severities))


def _verify(recipe: _Recipe) -> None:
    if recipe.labels and recipe.labels_topic:
        raise UsageError("labels are of --labels FILE or of --labels-topic: give one of them")
    if (recipe.labels or recipe.labels_topic) and len(recipe.names) != 1:
        raise UsageError("--labels are those of one recording: give one FILE")


def _names(inputs: str | None) -> tuple[str, ...]:
    return tuple(name for part in (inputs or "").split(",") if (name := part.strip()))


def _trained(
    recipe: _Recipe, settings: "Settings"
) -> tuple["ModelArtifact", list[int], list["TrainingFile"]]:
    from streamapp.lifecycle.training import reference_severities, train

    context = None
    with _progress(recipe) as (advance, say):
        reference, sources = (
            _logged(recipe, settings, advance) if recipe.from_topics else _read(recipe, advance)
        )
        labels = _labels(recipe, settings)
        say(f"training on {len(reference.rows):,} transactions")
        model = train(
            reference, seed=recipe.seed, description=recipe.description, inputs=recipe.inputs
        )
        if labels is not None:
            model, context = _learned(recipe, labels, model, reference)
        severities = reference_severities(model, reference, context)
    return model, severities, sources


def _read(
    recipe: _Recipe, advance: Callable[[int], None]
) -> tuple["Reference", list["TrainingFile"]]:
    """The reference of recordings, and what the model card says of each."""
    from streamapp.lifecycle.training import read_reference

    sources = [_Source(name, recipe, advance) for name in recipe.names]
    reference = read_reference(sources, recipe.time_zone)
    return reference, [source.described() for source in sources]


def _logged(
    recipe: _Recipe, settings: "Settings", advance: Callable[[int], None]
) -> tuple["Reference", list["TrainingFile"]]:
    """The reference that workers logged, likewise."""
    from streamapp.lifecycle.model_card import TrainingFile
    from streamapp.lifecycle.topic_reference import read_topic_reference

    found = read_topic_reference(
        settings.kafka,
        settings.topics,
        time_zone=recipe.time_zone,
        limit=recipe.limit,
        on_progress=advance,
    )
    rows = found.reference.rows
    typer.echo(
        f"{len(rows):,} vectors; left out: {found.foreign:,} of another feature contract or topic,"
        f" {found.unmatched:,} repeated or without their transaction",
        err=True,
    )
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    return found.reference, [TrainingFile(f"topic {recipe.names[0]}", digest, len(rows), False)]


def _labels(recipe: _Recipe, settings: "Settings") -> "Labels | None":
    from streamapp.lifecycle.labels import Labels, payment_keys
    from streamapp.lifecycle.topic_labels import read_topic_labels
    from streamapp.replay.label_file import read_labels

    if recipe.labels is not None:
        read = read_labels(recipe.labels)
        return Labels(payment_keys(read.tx, read.user), read.is_fraud, read.known_ms)
    if not recipe.labels_topic:
        return None
    found = read_topic_labels(settings.kafka, settings.topics.name("labels"))
    if found.refused:
        typer.echo(f"{found.refused:,} records are no labels: streamapp labels check", err=True)
    return found.labels


def _learned(
    recipe: _Recipe, labels: "Labels", model: "ModelArtifact", reference: "Reference"
) -> tuple["ModelArtifact", "NDArray[np.float64]"]:
    """The model with a supervised part, and the context of the reference."""
    from streamapp.cli.label_counts import counts_sentence
    from streamapp.lifecycle.labelled_training import learn_labels

    delay_ms = duration_ms("--label-delay", recipe.label_delay)
    learned = learn_labels(model, reference, labels, delay_ms=delay_ms, seed=recipe.seed)
    typer.echo(counts_sentence(learned.counts), err=True)
    return learned.model, learned.context


class _Source:
    """The records of one recording, counted while they are read."""

    def __init__(self, name: str, recipe: _Recipe, advance: Callable[[int], None]) -> None:
        self._name = name
        self._path = recording_path(name)
        self._recipe = recipe
        self._advance = advance
        self._rows = 0

    def __iter__(self) -> Iterator["Records"]:
        from streamapp.replay.brokerless import records_of

        return records_of(self._batches(), self._name, self._recipe.partitions)

    def described(self) -> "TrainingFile":
        """What the model card says of it, once it has been read."""
        from streamapp.lifecycle.model_card import TrainingFile

        return TrainingFile(self._name, _sha256(self._path), self._rows, self._name in SAMPLES)

    def _batches(self) -> Iterator["RecordedBatch"]:
        from streamapp.replay.reader import recorded

        for batch in recorded(self._path, limit=self._recipe.limit):
            self._rows += len(batch)
            yield batch
            self._advance(len(batch))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _progress(recipe: _Recipe) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A bar on standard error over the rows read; the second function changes its words."""
    counts = (
        [None]
        if recipe.from_topics
        else [rows_to_read(recording_path(name), recipe.limit) for name in recipe.names]
    )
    known = [count for count in counts if count is not None]
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        total = sum(known) if len(known) == len(counts) else None
        task = progress.add_task("reading", total=total)
        yield (
            lambda count: progress.advance(task, count),
            lambda words: progress.update(task, description=words),
        )


def _table(severities: list[int]) -> Table:
    table = Table(title="severities of the reference", box=None, show_header=False)
    for severity, count in zip(SEVERITIES, severities, strict=True):
        table.add_row(severity.value, f"{count:,}", f"{count / sum(severities):.2%}")
    return table
