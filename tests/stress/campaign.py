"""The stress campaign on a real Apache Kafka: python -m tests.stress.campaign [--report FILE].

Every row is a fault on fresh topics, held to an undisturbed run. Exit status 1 if a row fails.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine, versions
from streamapp.broker import LocalBroker
from streamapp.kafka.settings import KafkaSettings
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.default_model import default_model_dir
from tests.engine.deployment import Deployment
from tests.servers.postgres import start_postgres
from tests.servers.redis import start_redis
from tests.stress.clock import JUMPS, clock_jumps
from tests.stress.disk import full_disk
from tests.stress.load import flood, hot_key, overload
from tests.stress.outcome import Outcome
from tests.stress.poison import poison
from tests.stress.sinks import slow_sinks

_console = Console(width=160)

Strike = Callable[[Deployment, ModelArtifact], Outcome]


def _poison(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return poison(deployment, model, mutants=10_000, seed=2)


def _flood(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return flood(deployment, model, poison=5_000, rows=20_000)


def _hot_key(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return hot_key(deployment, model, rows=100_000)


def _overload(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return overload(deployment, model, seconds=120)


def _full_disk(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return full_disk(deployment, model, times=3)


def _sinks(deployment: Deployment, model: ModelArtifact) -> Outcome:
    moods = ("slow", "silent", "away") * 2
    with ExitStack() as stack:
        postgres, redis = start_postgres(), start_redis()
        stack.callback(postgres.close)
        stack.callback(redis.close)
        return slow_sinks(deployment, model, postgres, redis, moods, seconds=5)


def _clock(deployment: Deployment, model: ModelArtifact) -> Outcome:
    return clock_jumps(deployment, model, JUMPS)


ROWS: Final[dict[str, Strike]] = {
    "poison between valid transactions": _poison,
    "poison flood of one producer": _flood,
    "hot key, 80 % one user": _hot_key,
    "overload, 5 times capacity": _overload,
    "disk full and freed": _full_disk,
    "sinks slow, silent, away": _sinks,
    "worker's clock jumps": _clock,
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row. error: the promise that was not kept; empty where all were."""

    fault: str
    n: int
    measured: dict[str, Any]
    seconds: float
    error: str = ""


def main(
    only: Annotated[str, typer.Option(help="Rows whose name contains this.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Strike, compare, print the table; exit status 1 if any row fails."""
    chosen = {name: strike for name, strike in ROWS.items() if only in name}
    if not chosen:
        _console.print(f"no row is called {only!r}")
        raise typer.Exit(2)
    directory = Path(tempfile.mkdtemp(prefix="stress-"))
    started = time.monotonic()
    with LocalBroker.start("kafka", directory=directory / "broker") as broker:
        serving = {"kind": str(broker.kind), "version": broker.version}
        results = [
            _strike(name, strike, broker, directory / f"row-{number}")
            for number, (name, strike) in enumerate(chosen.items())
        ]
    _console.print(_table(results, serving, time.monotonic() - started))
    if report is not None:
        report.write_bytes(_figures(results, serving))
    if any(result.error for result in results):
        _console.print(f"logs and state are in {directory}")
        raise typer.Exit(1)
    shutil.rmtree(directory, ignore_errors=True)


def _strike(name: str, strike: Strike, broker: LocalBroker, directory: Path) -> Result:
    _console.print(f"{name} …")
    directory.mkdir()
    started = time.monotonic()
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    deployment = Deployment(kafka, f"{directory.name}.", directory)
    try:
        outcome, error = strike(deployment, load(default_model_dir())), ""
    except (AssertionError, RuntimeError, OSError) as failure:
        outcome, error = Outcome(0), str(failure) or repr(failure)
    finally:
        deployment.close()
    seconds = round(time.monotonic() - started, 1)
    _console.print(f"  {error or 'passed'} in {seconds:.0f} s")
    return Result(name, outcome.n, outcome.measured, seconds, error)


def _table(results: list[Result], serving: dict[str, str], seconds: float) -> Table:
    title = f"{len(results)} faults in {seconds / 60:.1f} min on {' '.join(serving.values())}"
    table = Table("fault", "n", "measured", "s", "passed", title=title, show_lines=True)
    for one in results:
        measured = ", ".join(f"{name} {value}" for name, value in one.measured.items())
        passed = "NO" if one.error else "yes"
        table.add_row(
            one.fault, str(one.n), one.error[:500] or measured, f"{one.seconds:.0f}", passed
        )
    return table


def _figures(results: list[Result], serving: dict[str, str]) -> bytes:
    figures = {
        "broker": serving,
        "versions": versions(),
        "machine": machine(),
        "rows": [asdict(one) | {"passed": not one.error} for one in results],
    }
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


if __name__ == "__main__":
    typer.run(main)
