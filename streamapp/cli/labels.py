"""`streamapp labels`: what became known of payments, into its topic and looked over there."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streamapp.cli.errors import UsageError
from streamapp.cli.sending import sending_progress, sent_exit_code, sent_sentence
from streamapp.cli.settings import load_settings
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


def _sentence(checked: Checked, dead_letters: str) -> str:
    parts = [f"{checked.fraud + checked.genuine:,} labels, {checked.fraud:,} of them fraud"]
    if checked.put_aside:
        named = ", ".join(
            f"{reason}{' ' + field if field else ''} {count:,}"
            for (reason, field), count in sorted(checked.put_aside.items())
        )
        parts.append(f"{checked.put_aside.total():,} put aside in {dead_letters} ({named})")
    return ("interrupted: " if checked.interrupted else "") + "; ".join(parts)
