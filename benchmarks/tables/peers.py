"""The tables of docs/peers.md."""

from typing import Any, Final

from benchmarks.tables.blocks import Results, Rows, Tables, from_results, markdown


def peers(report: Results) -> Rows:
    """A line for each contender."""
    rows: Rows = [
        ("", "× events/s", "× CPU", "events/s", "lowest", "highest", "CPU µs", "cores", "MiB", "n")
    ]
    return rows + [_peer(report, name) for name in report["medians"]]


def _peers(report: Results) -> str:
    broker, machine = report["broker"], report["machine"]
    under = (
        f"Medians of n runs; {broker['kind'].title()} {broker['version']} on the same "
        f"{machine['cores']} cores ({machine['cpu']}, {machine['memory_gib']} GiB). "
        "×: how many times as many events streamapp scores at the same guarantee, and how many "
        "times as much CPU the other takes for one."
    )
    left = "".join(f"\n\nLeft out: {name}: {why}" for name, why in report["left_out"].items())
    return f"{markdown(peers(report))}\n\n{under}{left}"


def _peer(report: Results, name: str) -> list[str]:
    median, ratio = report["medians"][name], report["ratios"].get(name)
    rates = [run["events_per_s"] for run in report["runs"][name]]
    return [
        report["titles"].get(name, name),
        f"{ratio['events_per_s']:,.1f}" if ratio else "",
        f"{ratio['cpu_per_event']:,.1f}" if ratio else "",
        *(f"{rate:,.0f}" for rate in (median["events_per_s"], min(rates), max(rates))),
        f"{median['cpu_us_per_event']:,.1f}",
        f"{median['cores']:.2f}" if "cores" in median else "",
        f"{median['peak_memory_mib']:,.0f}" if "peak_memory_mib" in median else "",
        str(median["n"]),
    ]


def micro(report: Results) -> Rows:
    """CPU µs an event, a line for each way of each stage, a column for each batch."""
    batches = [str(batch) for batch in report["batches"]]
    rows: Rows = [("stage", "way", *batches)]
    for stage, figures in report["stages"].items():
        ratios: dict[str, Any] = figures["ratio_to_ours"]
        for way, medians in figures["median_us"].items():
            cells = [f"{medians[batch]:,.2f}" for batch in batches]
            if way in ratios:
                times = [f"({ratios[way][batch]:,.1f}×)" for batch in batches]
                cells = [f"{cell} {often}" for cell, often in zip(cells, times, strict=True)]
            rows.append((stage, way, *cells))
    return rows


def _micro(report: Results) -> str:
    shown = markdown(micro(report), left=(0, 1))
    return f"{shown}\n\nCPU µs an event; medians of {report['rounds']} rounds."


TABLES: Final[Tables] = {
    "peers": from_results("peers", _peers),
    "micro": from_results("micro", _micro),
}
