# ruff: noqa: PLC0415 - compiled kernels take seconds to load; other commands need not wait
"""`streamapp severity`: keeps shares of severities to their budgets."""

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.kafka.metadata import TopicError

if TYPE_CHECKING:
    from streamapp.lifecycle.topic_tally import TopicTally

app = typer.Typer(help="Severities: their shares of a week's payments.", no_args_is_help=True)

#: Between two looks at the topic of verdicts.
_INTERVAL_S: Final = 5.0


@app.callback()
def severity() -> None:
    """Severities: their shares of a week's payments."""


@app.command("publish")
def publish(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until interrupted, an hour after the other.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file.")] = None,
) -> None:
    """Make cut-offs of what was decided in the last week, and have workers take them over.

    They move so that MEDIUM, HIGH and CRITICAL come to 2 %, 0.5 % and 0.1 % of a week's payments.
    Each command goes on where the last one stopped; one at a time is enough.
    """
    from streamapp.lifecycle.topic_tally import TopicTally

    settings = load_settings(config)
    topics = settings.topics
    try:
        tally = TopicTally(settings.kafka, topics.name("verdicts"), topics.name("control"))
        try:
            with stop_on_signals() as stop:
                _catch_up(tally, stop)
                while follow and not stop.wait(_INTERVAL_S):
                    _catch_up(tally, stop)
        finally:
            tally.close()
    except TopicError as error:
        raise UsageError(str(error)) from error


def _catch_up(tally: "TopicTally", stop: Event) -> None:
    is_behind = True
    while is_behind and not stop.is_set():
        cutoffs = tally.advance()
        is_behind = tally.is_behind
        if cutoffs is not None:
            typer.echo(f"{cutoffs.name} published")
