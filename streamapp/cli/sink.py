# ruff: noqa: PLC0415 - each sink imports its own client when it runs, and no other one's
"""`streamapp sink`: run one sink, or bring its database up to date."""

import random
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import structlog
import typer
from prometheus_client import start_http_server

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings, load_settings
from streamapp.cli.signals import stop_on_signals
from streamapp.sinks.protocol import Sink, SinkError
from streamapp.sinks.runner import SinkRunner, Totals

log = structlog.get_logger()

app = typer.Typer(
    help="Carries verdicts to alerts, PostgreSQL, Parquet or Redis.", no_args_is_help=True
)


class SinkName(StrEnum):
    """The sinks there are."""

    ALERTS = "alerts"
    POSTGRES = "postgres"
    PARQUET = "parquet"
    REDIS = "redis"


Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings.  [env: STREAMAPP_CONFIG_FILE]"),
]


@app.command("run")
def run(
    name: Annotated[SinkName, typer.Argument(help="Which sink.")],
    config: Config = None,
    until_idle: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Seconds: end once all that was there at the start is stored and nothing has"
            " come for this long.",
        ),
    ] = None,
    max_records: Annotated[
        int | None, typer.Option(min=1, help="End after this many records.")
    ] = None,
) -> None:
    """Run one sink until Ctrl-C or SIGTERM: it stores what it holds, commits and leaves."""
    settings = load_settings(config)
    log.info("settings_loaded", sink=name.value, settings=settings.masked())
    _serve_metrics(settings)
    try:
        totals = _run(name, settings, until_idle, max_records)
    except SinkError as error:
        _fail(str(error))
    log.info("sink_stopped", sink=name.value, records=totals.records, stored=totals.stored)


@app.command("migrate")
def migrate(config: Config = None) -> None:
    """Bring the PostgreSQL schema up to date."""
    from streamapp.sinks.postgres.adapter import PostgresSink

    settings = load_settings(config)
    try:
        applied = PostgresSink(settings.postgres).migrate()
    except SinkError as error:
        _fail(str(error))
    typer.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")


def _run(
    name: SinkName, settings: Settings, until_idle_s: float | None, records_max: int | None
) -> Totals:
    prefix = settings.topics.prefix
    with stop_on_signals() as stop:
        runner = SinkRunner(
            _BUILDERS[name](settings),
            kafka=settings.kafka,
            topic=settings.topics.name(_role(name)),
            group=f"{prefix}streamapp.sink.{name}",
            settings=settings.sink,
            # Jitter has to differ between processes, not to repeat: the one seed left to chance.
            rng=random.Random(),
            stop=stop,
        )
        return runner.run(until_idle_s, records_max)


def _role(name: SinkName) -> Literal["anomalies", "verdicts"]:
    return "anomalies" if name is SinkName.ALERTS else "verdicts"


def _serve_metrics(settings: Settings) -> None:
    sink = settings.sink
    if sink.metrics_port is None:
        return
    try:
        start_http_server(sink.metrics_port, sink.metrics_host)
    except OSError as error:
        raise UsageError(
            f"STREAMAPP_SINK__METRICS_PORT: cannot serve on {sink.metrics_host}:"
            f"{sink.metrics_port}: {error.strerror}"
        ) from error


def _fail(reason: str) -> NoReturn:
    typer.echo(f"streamapp: {reason}", err=True)
    raise typer.Exit(1)


def _alerts(settings: Settings) -> Sink:
    from rich.console import Console

    from streamapp.sinks.alerts.adapter import AlertSink
    from streamapp.sinks.alerts.channel import Channel
    from streamapp.sinks.alerts.console import ConsoleChannel
    from streamapp.sinks.alerts.webhook import WebhookChannel

    channel: Channel
    if settings.alerts.channel == "webhook":
        channel = WebhookChannel(settings.alerts.webhook, time.time)
    else:
        channel = ConsoleChannel(Console(file=sys.stdout))
    return AlertSink(settings.alerts, channel)


def _postgres(settings: Settings) -> Sink:
    from streamapp.sinks.postgres.adapter import PostgresSink

    return PostgresSink(settings.postgres)


def _parquet(settings: Settings) -> Sink:
    from streamapp.sinks.parquet.adapter import ParquetSink

    return ParquetSink(settings.parquet)


def _redis(settings: Settings) -> Sink:
    from streamapp.sinks.redis.adapter import RedisSink

    return RedisSink(settings.redis)


_BUILDERS: dict[SinkName, Callable[[Settings], Sink]] = {
    SinkName.ALERTS: _alerts,
    SinkName.POSTGRES: _postgres,
    SinkName.PARQUET: _parquet,
    SinkName.REDIS: _redis,
}
