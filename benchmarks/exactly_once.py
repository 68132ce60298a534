"""What exactly-once costs against at-least-once, alternated in one run on one broker.

    python -m benchmarks.exactly_once [--quick] [--runs 3] [--seconds 3]

For each checkpoint interval and guarantee a fresh worker gets payments at each of the rates, then
as many as it takes. Latency runs from the intended sending to the reader (open loop), once for a
reader of committed records and once for one that does not wait for the commit, on the same
verdicts. Throughput is read by the committed reader alone. docs/performance.md says more.
"""

import sys
import tempfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.paced import GUARANTEES, ISOLATIONS, SKIP_S, Paced, both_readers, send_paced
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.session import Session
from benchmarks.stand import Stand
from benchmarks.tables import performance

INTERVALS_MS = (10, 50, 200)
RATES = (1_000, 5_000)
USERS = 10_000

_PER_S_MAX = 150_000


class Setting(msgspec.Struct, frozen=True):
    """What a worker runs under."""

    guarantee: str
    interval_ms: int


class Full(msgspec.Struct, frozen=True):
    """As many as the worker takes, generator, broker and reader on the same cores."""

    events_per_s: float
    seconds: float
    cpu_us_per_event: dict[str, float]
    cores_others: float
    memory_mib: dict[str, int]


class Run(msgspec.Struct, frozen=True):
    """One worker under one setting."""

    guarantee: str
    interval_ms: int
    paced: list[Paced]
    full: Full


def main(
    broker: Annotated[str, typer.Option(help="kafka or noida.")] = "kafka",
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each setting, alternating.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each phase that counts.")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="One run.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure both under every interval, print ratios and latencies, write the raw figures."""
    if quick:
        runs = 1
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started(broker, Path(directory)) as stand,
    ):
        found = []
        for number, setting in _settings(runs):
            found.append(_measure(stand, setting, number, seconds))
            _tell(found[-1], number)
    medians = [_medians(found, interval_ms) for interval_ms in INTERVALS_MS]
    settings = {"runs": runs, "seconds": seconds, "users": USERS, "workers": 1}
    report = write("exactly_once", {"intervals": medians, "runs": found}, settings, stand, output)
    caption = conditions(stand, runs)
    table("Throughput", caption, performance.exactly_once(report))
    title = "Latency from the intended sending, ms"
    table(title, caption, performance.exactly_once_latency(report))


def _settings(runs: int) -> Iterator[tuple[int, Setting]]:
    """Both guarantees in turn, the first one changing, so that none has the quieter moments."""
    for number in range(1, runs + 1):
        for place, interval_ms in enumerate(INTERVALS_MS):
            order = GUARANTEES if (number + place) % 2 else GUARANTEES[::-1]
            yield from ((number, Setting(guarantee, interval_ms)) for guarantee in order)


def _measure(stand: Stand, setting: Setting, number: int, seconds: float) -> Run:
    with stand.session(
        f"run{number}.{setting.guarantee}.{setting.interval_ms}",
        crowd=Crowd(users=USERS),
        rows_max=int((seconds + SKIP_S) * (sum(RATES) + _PER_S_MAX)),
        readers=ISOLATIONS,
        settings={
            "guarantee": setting.guarantee,
            "checkpoint_interval_ms": str(setting.interval_ms),
        },
    ) as session:
        session.warm_up()
        windows = [send_paced(session, rate, seconds) for rate in RATES]
        uncommitted = session.end_reader("read_uncommitted")
        full = _send_unpaced(session, seconds)
        committed = session.end_reader("read_committed")
    paced = [one for window in windows for one in both_readers(window, committed, uncommitted)]
    return Run(setting.guarantee, setting.interval_ms, paced, full)


def _send_unpaced(session: Session, seconds: float) -> Full:
    _, used = session.send(seconds=seconds + SKIP_S, skip_s=SKIP_S)
    return Full(
        round(used.per_s, 1),
        round(used.at_s, 2),
        used.per_event_us(),
        round(used.others_s / used.at_s, 2),
        used.memory_mib,
    )


def _medians(found: list[Run], interval_ms: int) -> dict[str, Any]:
    """Of one interval: ratios first, then both guarantees' figures."""
    of = {
        guarantee: [
            run for run in found if (run.guarantee, run.interval_ms) == (guarantee, interval_ms)
        ]
        for guarantee in GUARANTEES
    }
    per_s = {g: median_of(runs, lambda run: run.full.events_per_s) for g, runs in of.items()}
    cpu_us = {
        g: median_of(runs, lambda run: run.full.cpu_us_per_event["worker0"])
        for g, runs in of.items()
    }
    return {
        "interval_ms": interval_ms,
        "throughput_ratio": round(per_s["exactly_once"] / per_s["at_least_once"], 3),
        "events_per_s": per_s,
        "worker_cpu_us_per_event": cpu_us,
        "latency_ms": [
            {
                "guarantee": guarantee,
                "rate": of[guarantee][0].paced[place].window.rate,
                "isolation": of[guarantee][0].paced[place].isolation,
                **{
                    figure: median_of(
                        [run.paced[place] for run in of[guarantee]], attrgetter(f"latency.{figure}")
                    )
                    for figure in ("p50", "p99", "p99_9", "max")
                },
            }
            for guarantee in GUARANTEES
            for place in range(len(RATES) * len(ISOLATIONS))
        ],
    }


def _tell(run: Run, number: int) -> None:
    p99s = ", ".join(
        f"{one.window.rate:,}/s {one.isolation.removeprefix('read_')} "
        f"{one.latency.p50:,.0f} and {one.latency.p99:,.0f}"
        for one in run.paced
    )
    console.print(
        f"run {number}, {run.guarantee}, {run.interval_ms} ms: {run.full.events_per_s:,.0f} "
        f"events/s, {run.full.cpu_us_per_event['worker0']:.1f} µs; p50 and p99 in ms: {p99s}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"benchmarks.exactly_once: {error}")
