"""The table of README's *Measured*."""

import statistics
from collections.abc import Callable
from typing import Final

from benchmarks.report import SLOWER_HOST
from benchmarks.tables.blocks import Results, Rows, Tables, markdown, results

Line = tuple[str, str]

_RUNS: Final = "benchmarks/results"


def measured() -> str:
    """A line for each result there is."""
    rows: Rows = [("what", "figure", "commit")]
    for name, line in _LINES:
        found = results(name)
        if found is not None:
            what, figure = line(found)
            linked = f"{what} ([runs]({_RUNS}/{name}.json))"
            rows.append((linked, figure, found.get("versions", {}).get("commit", "")))
    return markdown(rows, left=(0, 1, 2))


def _simulation(report: Results) -> Line:
    met, last = report["met"], report["first"] + report["seeds"] - 1
    kills = sum(count for what, count in met.items() if what.startswith("killed"))
    return (
        "the engine on a simulated broker, disk and network that fail by seed",
        f"seeds {report['first']:,} to {last:,}: {met['started']:,} starts and {kills:,} kills "
        f"of workers, {met['committed']:,} commits, {report['failing']} seeds failing; "
        "1,000 of them in each `make test`",
    )


def _crash(report: Results) -> Line:
    rows = report["rows"]
    found = [row["findings"] for row in rows]
    ready = [seconds for row in rows for seconds in row["ready_again_s"]]
    lost, repeated, different, profiles = (
        sum(one[name] for one in found)
        for name in ("lost", "duplicate", "differing_verdicts", "differing_profiles")
    )
    return (
        "workers killed with `kill -9`, in all states, on a real Kafka, exactly-once "
        f"([campaign](docs/exactly-once.md#result), {report['seconds'] / 60:.0f} minutes)",
        f"{report['worker_kills']} kills, {sum(len(row['stops']) for row in rows)} SIGTERMs, "
        f"broker killed and away; of {sum(one['records'] for one in found):,} records {lost} lost, "
        f"{repeated} repeated, {different} different, {profiles} profiles different; ready again "
        f"after {statistics.median(ready):.1f} s (median), {max(ready):.1f} s (worst)",
    )


def _throughput(report: Results) -> Line:
    settings, each = report["settings"], report["medians"]
    figures = [
        f"{words} {one['events_per_s']:,.0f} events/s ({settings['runs']} runs of "
        f"{settings['seconds'][guarantee]:.0f} s), {one['cpu_us_per_event']['workers']:.1f} µs of "
        f"worker CPU an event, {one['cpu_us_per_event']['broker']:.1f} of the broker's, "
        f"{one['peak_memory_mib']} MiB"
        for guarantee, words in _GUARANTEES
        for one in [each[guarantee]]
    ]
    workers = settings.get("workers", 1)
    return (
        f"{'one worker' if workers == 1 else f'{workers} workers'} under a full topic, "
        f"everything on, {settings['crowd']['users']:,} users, "
        f"generator and a committed reader beside it, {report['machine']['cpu']}",
        "; ".join(figures),
    )


def _latency(report: Results) -> Line:
    figures = [
        f"{one['p50']:.0f} and {one['p99']:.0f} ms {words}"
        for guarantee, isolation, words in _READERS
        for one in report["medians"]
        if (one["guarantee"], one["isolation"], one["rate"]) == (guarantee, isolation, _RATE)
    ]
    settings = report["settings"]
    return (
        f"p50 and p99 from the moment a payment is due to its verdict at a reader, {_RATE:,}/s, "
        f"{settings['runs']} runs of {settings['seconds']:.0f} s, {report['machine']['cpu']}",
        ", ".join(figures),
    )


def _restart(report: Results) -> Line:
    rocksdb, changelog = (
        f"{one['first_verdict_s']:.1f} s from {source} (n = {one['n']})"
        for case, source in (("rocksdb", "RocksDB"), ("changelog", "the changelog alone"))
        for one in report["medians"]
        if one["case"] == case
    )
    return (
        f"restart with {report['state']['profiles']:,} users to the first verdict, "
        f"{report['machine']['cpu']}",
        f"{rocksdb}, {changelog}",
    )


def _peers(report: Results) -> Line:
    figures = [
        f"{ratio['events_per_s']:,.1f} × {report['titles'].get(name, name)} (n = "
        f"{report['medians'][name]['n']})"
        for name, ratio in report["ratios"].items()
        if name in report["titles"]
    ]
    return (
        "events/s as a multiple of a peer's with the same features, models and verdicts, in one "
        "run ([how](docs/peers.md))",
        "; ".join(figures),
    )


def _quality_on(recording: str, days: int) -> Callable[[Results], Line]:
    """The line of one recording, whose labels come so many days late."""

    def line(report: Results) -> Line:
        scores = {**report, **report["baselines"]}
        verdict, free, amount = (
            f"{scores[name]['average_precision']:.3f}"
            for name in ("verdict", "label_free", "amount_zscore")
        )
        low, high = report["intervals"]["verdict"]["average_precision"]
        return (
            f"average precision on {recording} ([how](docs/quality.md)), {report['rows']:,} "
            f"payments, {report['frauds']:,} fraud",
            f"{verdict} ({low:.3f} to {high:.3f}) with labels that come {days} days late; without "
            f"labels {free}; the amount's z-score per user {amount}",
        )

    return line


_RATE: Final = 5_000
_DEVELOPED_ON: Final = "a public **simulation** it was developed on"
_GUARANTEES: Final = (("exactly_once", "exactly-once"), ("at_least_once", "at-least-once"))
_READERS: Final = (
    ("exactly_once", "read_committed", "exactly-once to a reader of committed records"),
    ("exactly_once", "read_uncommitted", "to one of uncommitted ones"),
    ("at_least_once", "read_committed", "at-least-once"),
)
_LINES: Final[tuple[tuple[str, Callable[[Results], Line]], ...]] = (
    ("simulation", _simulation),
    ("crash", _crash),
    ("throughput", _throughput),
    ("latency", _latency),
    (f"{SLOWER_HOST}/throughput", _throughput),
    ("throughput_workers", _throughput),
    (f"{SLOWER_HOST}/latency", _latency),
    ("restart", _restart),
    ("peers", _peers),
    ("quality_handbook", _quality_on(f"the Handbook's data, {_DEVELOPED_ON}", 7)),
    ("quality_sparkov", _quality_on(f"Sparkov, {_DEVELOPED_ON}", 7)),
    ("quality_paysim", _quality_on("PaySim, a **simulation** it was not developed on", 2)),
)
TABLES: Final[Tables] = {"measured": measured}
