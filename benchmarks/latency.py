"""Latency at given rates, open loop, under both guarantees and for both kinds of reader.

    python -m benchmarks.latency [--quick] [--runs 5] [--seconds 5] [--rate 1000 --rate 5000]
    python -m benchmarks.latency --rate 5000 --seconds 300 --runs 1 --output long.json

A payment is due at its time whatever happens to those before it, so a pause of the worker is in the
figures of every payment that waited through it. From there it runs to the verdict in the reader's
hands: generator, broker twice, worker, and for readers of committed records the checkpoint.

A relay that sends payments on as they came takes the worker's place in turn: what it takes tells
what Kafka and the machine take.
"""

import sys
import tempfile
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.latency_figures import SLOW_MS
from benchmarks.paced import GUARANTEES, ISOLATIONS, SKIP_S, Paced, both_readers, send_paced
from benchmarks.reader import Isolation
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.session import RELAY
from benchmarks.stand import Stand
from benchmarks.tables import performance

RATES = (1_000, 5_000, 20_000)
RELAY_RATES = (5_000,)
USERS = 10_000
_WORKER = "worker0"
_FIGURES = ("p50", "p95", "p99", "p99_9", "max")


class Run(msgspec.Struct, frozen=True):
    """One worker, or a relay, at every rate in turn. process: its name."""

    process: str
    guarantee: str
    paced: list[Paced]


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each, alternating.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="At each rate.")] = 5.0,
    rate: Annotated[list[int], typer.Option(min=1, help="Payments a second.")] = [*RATES],  # noqa: B006
    guarantee: Annotated[list[str], typer.Option(help="Of the worker.")] = [*GUARANTEES],  # noqa: B006
    relay_rate: Annotated[list[int], typer.Option(min=1, help="The relay's.")] = [*RELAY_RATES],  # noqa: B006
    users: Annotated[int, typer.Option(min=160, help="Who pay.")] = USERS,
    quick: Annotated[bool, typer.Option("--quick", help="One run of 4 s a rate.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure each rate, print percentiles, write the raw figures."""
    if quick:
        runs, seconds = 1, 4.0
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
    ):
        found = []
        for number in range(1, runs + 1):
            for one in guarantee if number % 2 else guarantee[::-1]:
                for process, rates in ((RELAY, relay_rate), (_WORKER, rate)):
                    found.append(_measure(stand, process, one, number, rates, seconds, users))
                    _tell(found[-1], number)
    medians, relay = (
        [
            _medians(found, process, one, per_s, isolation)
            for one in guarantee
            for per_s in rates
            for isolation in ISOLATIONS
        ]
        for process, rates in ((_WORKER, rate), (RELAY, relay_rate))
    )
    settings = {"runs": runs, "seconds": seconds, "users": users, "workers": 1}
    figures = {"medians": medians, "relay": relay, "runs": found}
    report = write("latency", figures, settings, stand, output)
    title = "Latency from the intended sending to the reader, ms"
    table(title, conditions(stand, runs), performance.latency(report))


def _measure(
    stand: Stand,
    process: str,
    guarantee: str,
    number: int,
    rates: list[int],
    seconds: float,
    users: int,
) -> Run:
    is_relay = process == RELAY
    with stand.session(
        f"run{number}.{process}.{guarantee}",
        crowd=Crowd(users=users),
        rows_max=int((seconds + SKIP_S) * sum(rates)) + 10_000,
        readers=ISOLATIONS,
        workers=0 if is_relay else 1,
        settings={"guarantee": guarantee},
        relay=guarantee if is_relay else "",
    ) as session:
        session.warm_up()
        windows = [send_paced(session, rate, seconds) for rate in rates]
        times = [session.end_reader(isolation) for isolation in ISOLATIONS]
    return Run(
        process, guarantee, [one for window in windows for one in both_readers(window, *times)]
    )


def _medians(
    found: list[Run], process: str, guarantee: str, rate: int, isolation: Isolation
) -> dict[str, Any]:
    chosen = [
        one
        for run in found
        if (run.process, run.guarantee) == (process, guarantee)
        for one in run.paced
        if (one.window.rate, one.isolation) == (rate, isolation)
    ]
    return {
        "guarantee": guarantee,
        "rate": rate,
        "isolation": isolation,
        **{name: median_of(chosen, attrgetter(f"latency.{name}")) for name in _FIGURES},
        "over_250_ms": sum(one.latency.over_250_ms for one in chosen),
        "payments": sum(one.latency.payments for one in chosen),
        "cpu_us_per_event": median_of(chosen, lambda one: one.window.cpu_us_per_event[process]),
        "generator_behind_ms_p99": median_of(
            chosen, lambda one: one.window.generator_behind_ms_p99
        ),
    }


def _tell(run: Run, number: int) -> None:
    for one in run.paced:
        figures = ", ".join(f"{name} {getattr(one.latency, name):,.1f}" for name in _FIGURES)
        behind = one.window.generator_behind_ms_max
        console.print(
            f"run {number}, {run.process}, {run.guarantee}, {one.window.rate:,}/s, "
            f"{one.isolation}: {figures} ms; "
            f"generator late by up to {behind:.0f} ms, other programs took "
            f"{one.window.cores['others']:.2f} cores, its host {one.window.cores['stolen']:.2f}; "
            f"{one.window.worker or ''}"
        )
        for pause in one.latency.pauses:
            console.print(f"   over {SLOW_MS:.0f} ms: {pause}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.latency: {error}")
