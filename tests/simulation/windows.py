"""Reference data that is published while a run goes on: risk windows, cut-offs of severities."""

import random
from dataclasses import dataclass, field, replace
from functools import cache

from streamapp.engine.risk_versions import RiskVersions
from streamapp.features.contract import DAY_MS, HOUR_MS
from streamapp.features.risk_windows import RiskTable
from streamapp.lifecycle.boosting import BoostSettings
from streamapp.lifecycle.labelled_training import learn_labels
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.supervised_training import SupervisedSettings
from streamapp.lifecycle.training import read_reference
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import InForce, stored_cutoffs, stored_risk_windows
from streamapp.scoring.risk_version import RiskVersion
from streamapp.scoring.severity_budget import Cutoffs
from tests.simulation.workload import POLICY, START_MS, Stretch, models, reference_records

VERSIONS = 3


@cache
def fed_model() -> ModelArtifact:
    """A small model with a supervised part, whose own windows are older than any published."""
    reference = read_reference([[reference_records()]])
    keys = payment_keys(reference.tx, reference.users)
    labels = Labels(keys, reference.names[:, 0] % 3 == 0, reference.time_ms + 60_000)
    settings = SupervisedSettings(BoostSettings(trees=3, leaf_rows=10), frauds_min=20)
    model = learn_labels(
        models()[0], reference, labels, delay_ms=DAY_MS // 2, seed=1, settings=settings
    ).model
    assert model.supervised is not None
    table = replace(model.supervised.table, day=0)
    return replace(model, supervised=replace(model.supervised, table=table))


@cache
def published() -> dict[str, RiskVersion]:
    """Versions by name, the oldest first; what they say of merchants differs."""
    supervised = fed_model().supervised
    assert supervised is not None
    names, values = supervised.table.names, supervised.table.values
    made = [
        RiskVersion.of(RiskTable(day, names, tuple(one * 0.5**day for one in values)))
        for day in range(1, 1 + VERSIONS)
    ]
    return {one.version: one for one in made}


@cache
def cutoffs() -> list[Cutoffs]:
    """Cut-offs of rising hours, two before any payment; each judges otherwise."""
    hour = START_MS // HOUR_MS - 1
    return [Cutoffs(hour + n, (25.0 - 5 * n, 50.0 - 10 * n, 75.0 + 5 * n)) for n in range(VERSIONS)]


class KnownVersions(RiskVersions):
    """What one worker can have; it hears of each when it is offered."""

    def load(self, version: str) -> RiskVersion:
        """Every version is there."""
        return published()[version]


@dataclass(slots=True)
class Publication:
    """When versions are published, by virtual time; none where windows are no part of a run."""

    times: list[float] = field(default_factory=list)

    @classmethod
    def drawn(cls, seed: int, until_s: float) -> "Publication":
        """In some runs, at times of their own. Drawn apart: other runs stay what they were."""
        draw = random.Random(f"windows of {seed}")
        is_part = draw.random() < 0.25
        return cls(sorted(draw.uniform(0, until_s) for _ in range(VERSIONS)) if is_part else [])

    def newest(self, now: float) -> tuple[str, str] | None:
        """The windows and the cut-offs published last by this time."""
        count = sum(time <= now for time in self.times)
        return (list(published())[count - 1], cutoffs()[count - 1].name) if count else None


def in_force(state: bytes | None, end: int) -> list[Stretch]:
    """What a partition's state says of the reference data that its records were scored with."""
    windows = () if state is None else stored_risk_windows(state)
    steered = () if state is None else stored_cutoffs(state)
    assert _in_order(windows, list(published()))
    assert _in_order(steered, [one.name for one in cutoffs()])
    begins = sorted({one.since for one in (*windows, *steered)} | ({0} if end else set()))
    return [_stretch(begin, windows, steered) for begin in begins]


def _in_order(named: tuple[InForce, ...], order: list[str]) -> bool:
    ranks = [order.index(one.version) for one in named]
    return ranks == sorted(set(ranks))


def _stretch(begin: int, windows: tuple[InForce, ...], steered: tuple[InForce, ...]) -> Stretch:
    window = next((one for one in reversed(windows) if one.since <= begin), None)
    cutoff = next((one for one in reversed(steered) if one.since <= begin), None)
    return Stretch(
        begin,
        fed_model(),
        published()[window.version] if window else None,
        POLICY.steered(Cutoffs.named(cutoff.version)) if cutoff else POLICY,
        tuple(one for one in (window, cutoff) if one and one.since == begin),
    )
