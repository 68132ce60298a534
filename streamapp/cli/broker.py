"""`streamapp broker`: a local broker for trying things out, started and stopped by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from streamapp.broker import BrokerError, BrokerKind, LocalBroker
from streamapp.cli.errors import UsageError

DEFAULT_PORT = 9092
EXIT_NOT_ANSWERING = 1
EXIT_NOT_RUNNING = 3

app = typer.Typer(help="A local broker that speaks Kafka, for development.", no_args_is_help=True)

Directory = Annotated[
    Path, typer.Option("--dir", help="Where its state, log and data are.", file_okay=False)
]
DEFAULT_DIR = Path(".streamapp/broker")


@contextmanager
def _told_to_user() -> Iterator[None]:
    try:
        yield
    except BrokerError as error:
        raise UsageError(str(error)) from error


@app.command()
def start(
    kind: Annotated[
        BrokerKind, typer.Option(help="noida: from pip; kafka: needs Java; redpanda: needs Docker.")
    ] = BrokerKind.NOIDA,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port on the loopback, 0 for any free one.  [9092]"),
    ] = None,
    directory: Directory = DEFAULT_DIR,
) -> None:
    """Start a broker in the background; if it already runs, say so."""
    with _told_to_user():
        wanted = _port_of_running(directory) if port is None else port
        broker = LocalBroker.start(kind, wanted, directory)
    fact = "already runs" if broker.was_running else "started"
    typer.echo(f"{broker.kind} {broker.version} {fact} at {broker.bootstrap_servers}")


@app.command()
def stop(directory: Directory = DEFAULT_DIR) -> None:
    """Stop the broker; its data stays for the next start."""
    with _told_to_user():
        broker = LocalBroker.find(directory)
        if broker is None:
            typer.echo(f"no broker was started in {directory}")
            return
        broker.stop()
    typer.echo(f"{broker.kind} {broker.version} stopped, its data is in {broker.state.data_dir}")


@app.command()
def status(directory: Directory = DEFAULT_DIR) -> None:
    """Say what runs where. Exit code 0: it answers, 1: it runs mute, 3: it doesn't run."""
    with _told_to_user():
        broker = LocalBroker.find(directory)
        if broker is None:
            typer.echo(f"no broker was started in {directory}")
            raise typer.Exit(EXIT_NOT_RUNNING)
        fact, code = _condition(broker)
    typer.echo(f"{broker.kind} {broker.version} at {broker.bootstrap_servers}: {fact}")
    raise typer.Exit(code)


def _condition(broker: LocalBroker) -> tuple[str, int]:
    if not broker.is_alive():
        return "not running", EXIT_NOT_RUNNING
    if not broker.answers():
        return "running, does not answer", EXIT_NOT_ANSWERING
    return "running", 0


def _port_of_running(directory: Path) -> int:
    """Where the broker of this directory runs, else the port Kafka clients expect."""
    broker = LocalBroker.find(directory)
    return broker.state.port if broker and broker.is_alive() else DEFAULT_PORT
