"""What was found: ratios first, raw figures beside them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contender import TUTORIAL, Contender, Run
from benchmarks.machine import machine, versions
from benchmarks.peers.agreement import Agreement
from benchmarks.peers.alone import AloneRun
from benchmarks.peers.contenders import OURS, Guarantee, Peer

#: The tutorial way and the libraries alone promise at-least-once at most; ours gives more.
DEFAULT: Guarantee = "exactly_once"

_FIGURES = ("events_per_s", "cpu_us_per_event", "cores", "cores_others", "peak_memory_mib")


@dataclass
class Figures:
    """Runs by name of the contender, agreement with ours, and why one was left out.

    ours: the verdicts of our first run.
    """

    runs: dict[str, list[Run]] = field(default_factory=dict)
    alone: dict[str, list[AloneRun]] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    ours: list[bytes] = field(default_factory=list)

    def fail(self, contender: Contender, error: Exception) -> None:
        """Note why it is not measured any more."""
        self.failures[contender.name] = str(error)


def report_of(
    found: Figures, chosen: Sequence[Peer], broker: dict[str, str], partitions: int
) -> dict[str, Any]:
    """Ratios, medians, raw runs, agreement and conditions."""
    medians = {name: _medians(runs, _FIGURES) for name, runs in found.runs.items()}
    alone = {name: _medians(runs, _FIGURES[:2]) for name, runs in found.alone.items()}
    baselines = {peer.name: f"{OURS}-{peer.guarantee}" for peer in chosen if peer.engine != OURS}
    baselines[TUTORIAL.name] = f"{OURS}-{DEFAULT}"
    baselines |= dict.fromkeys(alone, f"{OURS}-{DEFAULT}")
    measured = medians | alone
    return {
        "ratios": {
            name: _ratio(measured[own], measured[name]) | {"of": own}
            for name, own in baselines.items()
            if name in measured and own in measured
        },
        "medians": measured,
        "agreement_with_ours": found.agreements,
        "left_out": found.failures,
        "titles": {peer.name: peer.title for peer in chosen} | {TUTORIAL.name: TUTORIAL.title},
        "runs": found.runs | found.alone,
        "settings": {"partitions": partitions, "workers": 1, "traffic": "sample:sparkov"},
        "broker": broker,
        "machine": machine(),
        "versions": versions() | {name: text for peer in chosen for name, text in peer.versions()},
    }


def _medians(runs: Sequence[Any], figures: Sequence[str]) -> dict[str, float]:
    return {"n": len(runs)} | {
        figure: statistics.median(getattr(run, figure) for run in runs) for figure in figures
    }


def _ratio(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, Any]:
    return {
        "events_per_s": round(ours["events_per_s"] / theirs["events_per_s"], 2),
        "cpu_per_event": round(theirs["cpu_us_per_event"] / ours["cpu_us_per_event"], 2),
    }
