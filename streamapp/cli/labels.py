# ruff: noqa: PLC0415 - scikit-learn takes seconds to load; other commands need not wait
"""`streamapp labels`: what became known of payments, into its topic and looked over there."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streamapp.cli.errors import UsageError
from streamapp.cli.sending import sending_progress, sent_exit_code, sent_sentence
from streamapp.cli.settings import Settings, load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.kafka.label_check import Checked, check_labels
from streamapp.kafka.metadata import TopicError
from streamapp.replay.errors import RecordedError
from streamapp.replay.label_messages import label_messages
from streamapp.replay.producer import send

app = typer.Typer(help="Labels: what was fraud, and when that became known.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file.")]


@app.command("import")
def import_labels(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .parquet or .csv file with tx_id, user_id, is_fraud, timestamp, label_time, and"
            " merchant_id if known."
        ),
    ],
    config: Config = None,
) -> None:
    """Send a file of labels to their topic. Doing so again changes nothing that is learned.

    Nothing is sent of a file with one bad row. Exit code 0: all acknowledged; 1: deliveries
    failed; 130: interrupted.
    """
    settings = load_settings(config)
    try:
        batches = label_messages(file)
        rows = sum(map(len, batches))
        with stop_on_signals() as stop, sending_progress(rows, "labels") as on_progress:
            sent = send(
                batches,
                kafka=settings.kafka,
                topic=settings.topics.name("labels"),
                stop=stop,
                on_progress=on_progress,
            )
    except (TopicError, RecordedError) as error:
        raise UsageError(str(error)) from error
    typer.echo(sent_sentence(sent))
    raise typer.Exit(sent_exit_code(sent))


@app.command("check")
def check(config: Config = None) -> None:
    """Look over the labels that came since the last check; what is none goes to labels.dlq.

    Whoever learns from the topic leaves out what is no label, checked or not. Exit code 0: all are
    labels; 1: some were put aside; 130: interrupted.
    """
    settings = load_settings(config)
    topics = settings.topics
    try:
        with stop_on_signals() as stop, Console(stderr=True).status("reading labels") as status:
            checked = check_labels(
                settings.kafka,
                topics.name("labels"),
                topics.name("label_dead_letters"),
                stop=stop,
                on_progress=lambda so_far: status.update(f"{so_far.read:,} labels read"),
            )
    except TopicError as error:
        raise UsageError(str(error)) from error
    typer.echo(_sentence(checked, topics.name("label_dead_letters")))
    raise typer.Exit(130 if checked.interrupted else 1 if checked.put_aside else 0)


@app.command("publish")
def publish(config: Config = None) -> None:
    """Make risk windows of payments and labels in their topics, and have workers take them over.

    They are those of the newest payment's day, and end as long before it as those the model was
    trained on. They go to a file in the directory that all workers read. Once a day is enough.
    """
    from streamapp.cli.label_counts import counts_sentence
    from streamapp.kafka.control import publish_risk_windows
    from streamapp.lifecycle.topic_labels import read_topic_labels
    from streamapp.lifecycle.topic_windows import admitted_payments, newest_windows
    from streamapp.lifecycle.training import TrainingError
    from streamapp.scoring.risk_version import RiskVersion, to_bytes

    settings = load_settings(config)
    directory, delay_days = _directory(settings), _delay_days(settings)
    topics = settings.topics
    try:
        labels = read_topic_labels(settings.kafka, topics.name("labels")).labels
        payments = admitted_payments(settings.kafka, topics.name("transactions"))
        table, counts = newest_windows(payments, labels, delay_days)
        version = RiskVersion.of(table).version
        _write(directory / version, to_bytes(table))
        publish_risk_windows(settings.kafka, topics.name("control"), version)
    except (TopicError, TrainingError) as error:
        raise UsageError(str(error)) from error
    typer.echo(counts_sentence(counts), err=True)
    typer.echo(f"{version} of {len(payments):,} payments published to {topics.name('control')}")


def _directory(settings: Settings) -> Path:
    directory = settings.worker.risk_windows_dir
    if directory is None:
        raise UsageError(
            "STREAMAPP_WORKER__RISK_WINDOWS_DIR is not set: name a directory that all workers read"
        )
    return directory


def _delay_days(settings: Settings) -> int:
    """How long before a day the windows end that the workers' model was trained on."""
    from streamapp.scoring.artifact import ArtifactError, load
    from streamapp.scoring.default_model import default_model_dir

    try:
        model = load(settings.worker.model_dir or default_model_dir())
    except (ArtifactError, OSError) as error:
        raise UsageError(str(error)) from error
    if model.supervised is None:
        raise UsageError(
            f"model {model.version} looks no risk windows up: train one with labels, and name it in"
            " STREAMAPP_WORKER__MODEL_DIR"
        )
    return model.supervised.training.windows_delay_days


def _write(path: Path, image: bytes) -> None:
    """Whole or not at all: workers read it as soon as it is named."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{os.getpid()}")
        half.write_bytes(image)
        half.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _sentence(checked: Checked, dead_letters: str) -> str:
    parts = [f"{checked.fraud + checked.genuine:,} labels, {checked.fraud:,} of them fraud"]
    if checked.put_aside:
        named = ", ".join(
            f"{reason}{' ' + field if field else ''} {count:,}"
            for (reason, field), count in sorted(checked.put_aside.items())
        )
        parts.append(f"{checked.put_aside.total():,} put aside in {dead_letters} ({named})")
    return ("interrupted: " if checked.interrupted else "") + "; ".join(parts)
