"""Plots of the committed results, one SVG for each benchmark, into docs/plots.

    python -m benchmarks.plots [NAME …] [--results DIRECTORY] [--output DIRECTORY]

The same results give the same bytes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import matplotlib as mpl
import msgspec
import typer
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.report import PLOTS, RESULTS, console

_BLUE: Final = "#2a6f97"
_ORANGE: Final = "#d97b29"
_GREY: Final = "#8d99a6"
_COLOURS: Final = {"exactly_once": _BLUE, "at_least_once": _ORANGE}
_TITLES: Final = {
    "exactly_once": "exactly once",
    "at_least_once": "at least once",
    "read_committed": "committed",
    "read_uncommitted": "uncommitted",
}
_PROCESSES: Final = {
    "workers": ("worker", _BLUE),
    "broker": ("broker", _ORANGE),
    "generator": ("generator", _GREY),
    "read_committed": ("reader", "#c9d1d9"),
}

mpl.rcParams.update(
    {
        "svg.hashsalt": "streamapp",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e3e7eb",
        "grid.linewidth": 0.6,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "legend.frameon": False,
    }
)

Results = dict[str, Any]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks; all there are.")] = None,
    results: Annotated[Path, typer.Option(help="Where the JSON is.")] = RESULTS,
    output: Annotated[Path, typer.Option(help="Where the plots go.")] = PLOTS,
    kind: Annotated[str, typer.Option(help="svg or png.")] = "svg",
) -> None:
    """Draw what there are results of."""
    output.mkdir(parents=True, exist_ok=True)
    for name in names or _DRAWN:
        path = results / f"{name}.json"
        if not path.exists():
            console.print(f"{name}: no results yet")
            continue
        figure = _DRAWN[name](msgspec.json.decode(path.read_bytes()))
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(output / f"{name}.{kind}", metadata=metadata, dpi=110)
        console.print(f"{name}: {output / f'{name}.{kind}'}")


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    return figure, list(axes)


def _in_decades(axis: Axis, steps: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:,.0f}")


def draw_throughput(results: Results) -> Figure:
    """Events each second of every run, and whose CPU time an event takes."""
    figure, (over_time, spent) = _panels(2, 3.0)
    for guarantee in results["medians"]:
        for number, run in enumerate(r for r in results["runs"] if r["guarantee"] == guarantee):
            label = _TITLES[guarantee] if number == 0 else None
            seconds = range(1, len(run["each_s"]) + 1)
            over_time.plot(seconds, run["each_s"], color=_COLOURS[guarantee], lw=0.9, label=label)
    over_time.set(title="Verdicts read each second, every run", xlabel="s", ylim=(0, None))
    over_time.yaxis.set_major_formatter("{x:,.0f}")
    figure.legend(
        *over_time.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8
    )
    names = [_TITLES[guarantee] for guarantee in results["medians"]]
    left = [0.0] * len(names)
    for process, (title, colour) in _PROCESSES.items():
        width = [one["cpu_us_per_event"].get(process, 0.0) for one in results["medians"].values()]
        spent.barh(names, width, left=left, color=colour, label=title, height=0.55)
        left = [a + b for a, b in zip(left, width, strict=True)]
    spent.set(title="CPU time of an event by process", xlabel="µs")
    spent.grid(axis="y", visible=False)
    spent.set_ylim(-0.6, len(names))
    spent.legend(ncols=4, loc="upper left", fontsize=8, handlelength=1, columnspacing=1)
    return figure


def draw_latency(results: Results) -> Figure:
    """Percentiles of every rate, guarantee and reader on one scale."""
    figure, [axes] = _panels(1, 0.9 + 0.27 * len(results["medians"]))
    labels = []
    for row, one in enumerate(reversed(results["medians"])):
        labels.append(
            f"{one['rate']:,}/s, {_TITLES[one['guarantee']]}, {_TITLES[one['isolation']]}"
        )
        colour = _COLOURS[one["guarantee"]]
        axes.plot([one["p50"], one["max"]], [row, row], color=colour, lw=1.2, alpha=0.5)
        for figure_name, marker, size in (("p50", "o", 6), ("p99", "D", 5), ("p99_9", "s", 4)):
            axes.plot(one[figure_name], row, marker=marker, ms=size, color=colour)
        axes.plot(one["max"], row, marker="|", ms=9, color=colour)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xscale("log")
    _in_decades(axes.xaxis)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set(
        title="Latency from the intended sending: ● p50   ◆ p99   ■ p99.9   | max",
        xlabel="ms, logarithmic",
    )
    return figure


def draw_exactly_once(results: Results) -> Figure:
    """p50 and p99 over the checkpoint interval, a panel for each rate."""
    intervals = results["intervals"]
    rates = sorted({line["rate"] for line in intervals[0]["latency_ms"]})
    figure, panels = _panels(len(rates), 3.2)
    places = range(len(intervals))
    for axes, rate in zip(panels, rates, strict=True):
        chosen = [line for line in intervals[0]["latency_ms"] if line["rate"] == rate]
        for first in chosen:
            key = (first["guarantee"], first["isolation"])
            lines = [
                line
                for one in intervals
                for line in one["latency_ms"]
                if line["rate"] == rate and (line["guarantee"], line["isolation"]) == key
            ]
            style: dict[str, Any] = {"color": _COLOURS[key[0]], "lw": 1.4, "ms": 5}
            dashes = "-" if key[1] == "read_committed" else ":"
            title = f"{_TITLES[key[0]]}, {_TITLES[key[1]]}"
            axes.plot(places, [one["p99"] for one in lines], dashes, marker="D", **style)
            axes.plot(
                places, [one["p50"] for one in lines], dashes, marker="o", label=title, **style
            )
        axes.set_yscale("log")
        _in_decades(axes.yaxis)
        axes.set_xticks(places, [f"{one['interval_ms']} ms" for one in intervals])
        axes.set(title=f"{rate:,}/s: ● p50   ◆ p99, ms", xlabel="checkpoint interval")
    panels[0].legend(fontsize=8)
    return figure


def draw_restart(results: Results) -> Figure:
    """Where the time from the start to the first verdict goes."""
    figure, [axes] = _panels(1, 2.6)
    medians = results["medians"][::-1]
    names = [one["case"].replace("_", ", ") for one in medians]
    recovery = [one["recovery_s"] for one in medians]
    began = [one["recovery_began_s"] for one in medians]
    rest = [one["first_verdict_s"] - one["recovery_s"] - one["recovery_began_s"] for one in medians]
    axes.barh(names, began, color=_GREY, height=0.6, label="process, model, group")
    axes.barh(names, recovery, left=began, color=_BLUE, height=0.6, label="recovery of state")
    left = [a + b for a, b in zip(began, recovery, strict=True)]
    axes.barh(names, rest, left=left, color=_ORANGE, height=0.6, label="to the first verdict")
    profiles = results["state"]["profiles"]
    axes.set(title=f"From the start to the first verdict, {profiles:,} profiles", xlabel="s")
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(names) + 0.3)
    axes.legend(ncols=3, loc="upper right", fontsize=8)
    return figure


def draw_scale(results: Results) -> Figure:
    """Cost of an event by users and skew, and growth of state over a month."""
    figure, (cost, growth) = _panels(2, 3.2)
    single = [one for one in results["medians"] if one["is_seeded"]]
    skews = list(dict.fromkeys(one["skew"] for one in single))
    colours = ("#0b3c5d", _BLUE, "#6aa5c9", _ORANGE, _GREY)
    for skew, colour in zip(skews, colours, strict=False):
        lines = [one for one in single if one["skew"] == skew]
        users = [one["users"] for one in lines]
        cost.plot(users, [one["cpu_us_per_event"] for one in lines], "o-", color=colour, label=skew)
    cost.set_xscale("log")
    _in_decades(cost.xaxis, steps=(1.0,))
    cost.set(title="Worker's CPU time of an event, µs", xlabel="users", ylim=(0, None))
    cost.legend(fontsize=8)
    grown = results["growth"]
    days = [one["days"] for one in grown]
    for name, title, colour in (
        ("changelog_bytes", "changelog", _ORANGE),
        ("store_bytes", "RocksDB", _BLUE),
    ):
        growth.plot(days, [one[name] / 1e6 for one in grown], "o-", color=colour, label=title)
    growth.set(title="State of 10,000 users, MB", xlabel="days of payments", ylim=(0, None))
    growth.legend(fontsize=8)
    return figure


_DRAWN: Final[dict[str, Callable[[Results], Figure]]] = {
    "throughput": draw_throughput,
    "latency": draw_latency,
    "exactly_once": draw_exactly_once,
    "restart": draw_restart,
    "scale": draw_scale,
}

if __name__ == "__main__":
    typer.run(main)
