"""The tables of docs/performance.md."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.report import PLOTS, SLOWER_HOST
from benchmarks.tables.blocks import Results, Rows, Tables, from_results, markdown

#: Of cores that went elsewhere; less is the benchmark itself.
_ELSEWHERE_MIN: Final = 0.15

WORDS: Final = {
    "exactly_once": "exactly once",
    "at_least_once": "at least once",
    "read_committed": "committed",
    "read_uncommitted": "uncommitted",
}


def _table(name: str, rows: Callable[[Results], Rows], results: Results) -> str:
    parts = [markdown(rows(results))]
    if (PLOTS / f"{name}.svg").exists():
        parts.append(f"![{name.replace('_', ' ')}](plots/{name}.svg)")
    return "\n\n".join([*parts, conditions(results)])


def conditions(results: Results) -> str:
    """The line under a table: how often, for how long, on what."""
    machine, broker = results["machine"], results["broker"]
    often = _often(results) + _lasting(results["settings"].get("seconds"))
    partitions = results["settings"]["partitions"]
    return (
        f"{often}; {broker['kind'].title()} {broker['version']} on the same {machine['cores']} "
        f"cores ({machine['cpu']}, {machine['memory_gib']} GiB), Python "
        f"{results['versions']['python']}, {partitions} partitions.{_elsewhere(results)}"
    )


def _often(results: Results) -> str:
    """How many runs the figures are medians of; `n` where each line says so itself."""
    medians, runs = results.get("medians"), results["settings"]["runs"]
    if isinstance(medians, list) and all("n" in one for one in medians):
        return "Medians of n runs"
    return f"Medians of {runs} runs" if runs > 1 else "One run"


def _lasting(seconds: float | dict[str, float] | None) -> str:
    """How long each run counted."""
    if seconds is None:
        return ""
    if isinstance(seconds, dict):
        return " of " + " and ".join(f"{s:g} s ({WORDS[g]})" for g, s in seconds.items())
    return f" of {seconds:g} s"


def _elsewhere(results: Results) -> str:
    """Where cores went that neither broker, worker, generator nor reader took: medians."""
    runs = results["runs"]
    cores = [one["cores"] for one in runs if "cores" in one]
    cores += [one["window"]["cores"] for run in runs for one in run.get("paced", [])]
    others = [one["others"] for one in cores]
    others += [one["full"]["cores_others"] for one in runs if "full" in one]
    stolen = [one["stolen"] for one in cores if "stolen" in one]  # not told by older results
    return "".join(
        f" {who} took {statistics.median(found):.1f} cores meanwhile."
        for who, found in (("Other programs", others), ("The machine's host", stolen))
        if found and statistics.median(found) > _ELSEWHERE_MIN
    )


def throughput(results: Results) -> Rows:
    """CPU time of each process for an event, and the cores it took."""
    rows: Rows = [
        ("", "events/s", "slowest second", "workers", "broker", "generator", "reader", "MiB"),
    ]
    for guarantee, one in results["medians"].items():
        spent, cores = one["cpu_us_per_event"], one["cores"]
        processes = [
            f"{spent[name]:.1f} µs ({cores[name]:.2f})" if name in spent else ""
            for name in ("workers", "broker", "generator", "read_committed")
        ]
        rows.append(
            (
                WORDS[guarantee],
                f"{one['events_per_s']:,.0f}",
                f"{one['events_per_s_lowest']:,.0f}",
                *processes,
                f"{one['peak_memory_mib']:,.0f}",
            )
        )
    return rows


def latency(results: Results) -> Rows:
    """Milliseconds, a line for each guarantee, rate and reader; last those of the relay."""
    rows: Rows = [("", "reader", "rate/s", "p50", "p95", "p99", "p99.9", "max", "over 250 ms")]
    for who, one in [
        *(("", one) for one in results["medians"]),
        *(("relay, ", one) for one in results.get("relay", [])),
    ]:
        rows.append(
            (
                who + WORDS[one["guarantee"]],
                WORDS[one["isolation"]],
                f"{one['rate']:,}",
                *(f"{one[name]:,.1f}" for name in ("p50", "p95", "p99", "p99_9", "max")),
                f"{one['over_250_ms']:,} of {one['payments']:,}",
            )
        )
    return rows


def exactly_once(results: Results) -> Rows:
    """Both guarantees at full load, by checkpoint interval."""
    rows: Rows = [("checkpoint every", "ratio", "exactly once/s", "at least once/s", "CPU µs")]
    for one in results["intervals"]:
        per_s, cpu_us = one["events_per_s"], one["worker_cpu_us_per_event"]
        rows.append(
            (
                f"{one['interval_ms']} ms",
                f"{one['throughput_ratio']:.2f}",
                f"{per_s['exactly_once']:,.0f}",
                f"{per_s['at_least_once']:,.0f}",
                f"{cpu_us['exactly_once']:.1f} and {cpu_us['at_least_once']:.1f}",
            )
        )
    return rows


def exactly_once_latency(results: Results) -> Rows:
    """Milliseconds, by checkpoint interval."""
    rows: Rows = [("checkpoint every", "", "reader", "rate/s", "p50", "p99", "p99.9")]
    for one in results["intervals"]:
        for line in one["latency_ms"]:
            rows.append(
                (
                    f"{one['interval_ms']} ms",
                    WORDS[line["guarantee"]],
                    WORDS[line["isolation"]],
                    f"{line['rate']:,}",
                    *(f"{line[name]:,.1f}" for name in ("p50", "p99", "p99_9")),
                )
            )
    return rows


def labels_throughput(results: Results) -> Rows:
    """What labels and reasons cost a worker, against all of it."""
    medians = results["medians"]
    everything = next(iter(medians.values()))["events_per_s"]
    rows: Rows = [("worker", "events/s", "ratio", "worker's CPU µs", "MEDIUM and above")]
    for way, one in medians.items():
        rows.append(
            (
                way,
                f"{one['events_per_s']:,.0f}",
                f"{one['events_per_s'] / everything:.2f}",
                f"{one['worker_us_per_event']:.1f}",
                f"{one['anomaly_share']:.2%}",
            )
        )
    return rows


def restart(results: Results) -> Rows:
    """Seconds from the start of the process."""
    rows: Rows = [
        ("state from", "recovery", "ready", "first verdict", "records/s", "MB/s", "MiB", "n"),
    ]
    for one in results["medians"]:
        is_rebuilt = one["recovered_records"] >= results["state"]["profiles"]
        rows.append(
            (
                one["case"].replace("_", ", "),
                f"{one['recovery_s']:.1f} s",
                f"{one['ready_s']:.1f} s",
                f"{one['first_verdict_s']:.1f} s",
                f"{one['records_per_s']:,}" if is_rebuilt else "",
                f"{one['mb_per_s']:.0f}" if is_rebuilt else "",
                f"{one['memory_mib']:,.0f}",
                str(one["n"]),
            )
        )
    return rows


def scale(results: Results) -> Rows:
    """By users, who pays, and workers."""
    rows: Rows = [
        (
            "users",
            "who pays",
            "workers",
            "events/s",
            "CPU µs",
            "against 10,000 users",
            "MiB",
            "anomalies",
            "n",
        )
    ]
    for one in results["medians"]:
        rows.append(
            (
                f"{one['users']:,}",
                one["skew"] if one["is_seeded"] else f"{one['skew']}, new",
                str(one["workers"]),
                f"{one['events_per_s']:,.0f}",
                f"{one['cpu_us_per_event']:.1f}",
                f"{one['cost_against_10_000_users']:.2f}",
                f"{one['memory_mib']:,.0f}",
                f"{one['anomaly_share']:.1%}",
                str(one["n"]),
            )
        )
    return rows


def growth(results: Results) -> Rows:
    """State by days of payments."""
    rows: Rows = [("days", "payments", "RocksDB, MB", "changelog, MB", "worker, MiB")]
    for one in results["growth"]:
        rows.append(
            (
                str(one["days"]),
                f"{one['payments']:,}",
                f"{one['store_bytes'] / 1e6:,.1f}",
                f"{one['changelog_bytes'] / 1e6:,.1f}",
                f"{one['memory_mib']:,}",
            )
        )
    return rows


def _once(results: Results) -> Results:
    """As results of the one run of growth, which lasts as long as its payments take."""
    settings = results["settings"] | {"runs": 1, "seconds": None}
    return results | {"medians": None, "settings": settings}


_SOURCES: Final = {
    "exactly_once_latency": "exactly_once",
    "throughput_slower": f"{SLOWER_HOST}/throughput",
    "latency_slower": f"{SLOWER_HOST}/latency",
}
_ROWS: Final[dict[str, Callable[[Results], Rows]]] = {
    "throughput": throughput,
    "latency": latency,
    "latency_long": latency,
    "throughput_slower": throughput,
    "throughput_workers": throughput,
    "latency_slower": latency,
    "exactly_once": exactly_once,
    "exactly_once_latency": exactly_once_latency,
    "labels_throughput": labels_throughput,
    "restart": restart,
    "scale": scale,
}

TABLES: Final[Tables] = {
    name: from_results(_SOURCES.get(name, name), partial(_table, name, rows))
    for name, rows in _ROWS.items()
} | {"growth": from_results("scale", lambda results: _table("growth", growth, _once(results)))}
