"""Packed frauds against the half-space trees, with their guards and without.

    python -m tests.attack.replay [--sample sparkov] [--report out.json]

A partition of recorded traffic runs until the trees are settled. Then frauds arrive back to back,
nothing between them, and it is asked twice, before and after: how are fresh frauds of the same kind
scored, on cards that took no part? And what becomes of the genuine payments that follow? "Without"
is the same model, features and profiles; only the guards are off.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from streamapp.domain.transaction import Transaction, epoch_ms
from streamapp.features.contract import FeatureParameters
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.scoring.admission import StreamClock
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.calibration import DEFAULT_CUTOFFS
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.process import Records, featurise
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.risk import FLAGGED_RISK, HALF_SPACE, RiskBlock, assess
from streamapp.scoring.verdicts import SourcePartition

SIZES: Final = (250, 500, 1_000, 2_500, 5_000)

#: Settling takes some windows and a history for every card; what follows is looked at.
SETTLING_ROWS, FOLLOWING_ROWS = 30_000, 1_000
PROBES: Final = 50
BATCH_ROWS: Final = 256

_SOURCE: Final = SourcePartition("transactions", 0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to attack: payments of `factor` times what is usual, in turn on so many cards.

    cards 0: each on a card of its own. Recordings have too few of them, so the vectors of features
    that payments on `PROBES` cards would have are repeated, under the names of other users.
    """

    name: str
    cards: int
    factor: float


#: Fresh frauds are of this many times the usual amount.
FRAUD_FACTOR: Final = 20.0

KINDS: Final = (
    Kind("20 × usual, each on its own card", 0, FRAUD_FACTOR),
    Kind("3 × usual, each on its own card", 0, 3.0),
    Kind("20 × usual, on 50 cards", 50, FRAUD_FACTOR),
    Kind("20 × usual, on one card", 1, FRAUD_FACTOR),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attack did; shares are of 1.

    learned: attacking payments that taught the trees. risk, tail_share: medians over fresh frauds
    before and after, of the verdict and of the trees alone. genuine: share of the following genuine
    payments on other cards at MEDIUM or worse, without the attack and after it. order: the lowest
    of all windows that ended in the attack or right after it.
    """

    kind: str
    size: int
    is_guarded: bool
    learned: float
    risk: tuple[float, float]
    tail_share: tuple[float, float]
    genuine: tuple[float, float]
    order: float


class Partition:
    """One partition: profiles, clock and half-space trees, with or without guards."""

    def __init__(self, model: ModelArtifact, *, is_guarded: bool) -> None:
        self._model = model if is_guarded else _unbounded(model)
        self._trees = model.half_space_trees
        self.is_guarded = is_guarded
        self.profiles, self._clock = MemoryProfiles(), StreamClock()
        self.state = HalfSpaceState.empty(self._trees)
        self._offset = 0

    def copy(self) -> "Partition":
        """A partition that goes its own way from here."""
        other = copy.copy(self)
        other.profiles, other._clock = copy.deepcopy((self.profiles, self._clock))
        other.state = self.state.copy()
        return other

    def score(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> RiskBlock:
        """Features, scores, learning: as `process` does."""
        offsets = range(self._offset, self._offset + len(values))
        self._offset += len(values)
        records = Records(_SOURCE, keys, values, offsets)
        parameters = FeatureParameters(self._model.global_amount_limit)
        batch = featurise(records, self.profiles, self._clock, parameters)
        assert not batch.dead_letters
        rows = batch.features
        return self.score_rows(rows.values, batch.columns.records["user"], rows.is_cold)

    def score_rows(
        self, values: NDArray[np.float64], users: NDArray[np.uint32], modes: NDArray[np.uint8]
    ) -> RiskBlock:
        """Scores and learning of rows of features."""
        flagged = FLAGGED_RISK
        if not self.is_guarded:
            # No two payments of one user in a window: nobody reaches the quota.
            users, flagged = np.arange(len(users), dtype=np.uint32), math.inf
            self.state.taught[:] = 0
        return assess(values, users, modes, self.state, self._model, DEFAULT_CUTOFFS, flagged)

    def orders(self, block: RiskBlock) -> list[float]:
        """Order of what was learned in each window that ended in the block."""
        if self.is_guarded:
            return block.half_space.orders
        found = (self._trees.order(one.masses) for one in block.half_space.references[1:])
        return [order for order in found if order is not None]


def _unbounded(model: ModelArtifact) -> ModelArtifact:
    return replace(model, half_space_trees=replace(model.half_space_trees, usual=None))


@dataclass(frozen=True, slots=True)
class Recording:
    """Genuine payments of one partition, and what is usual for its cards.

    cards: those with the longest history first, with the mean of their amounts.
    """

    keys: list[bytes | None]
    values: list[bytes | None]
    cards: list[tuple[str, float]]
    end_ms: int

    @classmethod
    def of(cls, name: str) -> "Recording":
        """The beginning of a sample without its frauds, as far as they are labelled."""
        batches = list(recorded(sample(name), limit=SETTLING_ROWS + 2 * FOLLOWING_ROWS))
        keys: list[bytes | None] = []
        values: list[bytes | None] = []
        amounts: dict[str, list[float]] = {}
        for batch in batches:
            for row in np.flatnonzero(batch.labels != 1).tolist():
                keys.append(batch.keys[row])
                values.append(batch.values[row])
        for value in values[:SETTLING_ROWS]:
            assert value is not None
            one = msgspec.json.decode(value, type=Transaction)
            amounts.setdefault(one.user_id, []).append(one.amount)
        order = sorted(amounts, key=lambda card: (-len(amounts[card]), card))
        cards = [(card, float(np.mean(amounts[card]))) for card in order]
        return cls(keys, values, cards, epoch_ms(one.timestamp))

    def following(self, but: set[str]) -> tuple[list[bytes | None], list[bytes | None]]:
        """What comes after the partition has settled, but for some cards."""
        rows = range(SETTLING_ROWS, SETTLING_ROWS + FOLLOWING_ROWS)
        kept = [row for row in rows if (self.keys[row] or b"").decode() not in but]
        return [self.keys[row] for row in kept], [self.values[row] for row in kept]

    def frauds(
        self, cards: list[tuple[str, float]], factor: float, count: int, name: str
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """`count` payments in turn on these cards, a second apart."""
        keys: list[bytes | None] = []
        values: list[bytes | None] = []
        for i in range(count):
            card, usual = cards[i % len(cards)]
            payment = {
                "tx_id": f"{name}-{i}",
                "user_id": card,
                "amount": round(factor * usual, 2),
                "timestamp": self.end_ms + 1_000 * i,
            }
            keys.append(card.encode())
            values.append(msgspec.json.encode(payment))
        return keys, values


def settled(recording: Recording, model: ModelArtifact, *, is_guarded: bool) -> Partition:
    """A partition after the recording's beginning."""
    partition = Partition(model, is_guarded=is_guarded)
    for start in range(0, SETTLING_ROWS, 1_000):
        rows = slice(start, start + 1_000)
        partition.score(recording.keys[rows], recording.values[rows])
    return partition


def attack(recording: Recording, partition: Partition, kind: Kind, size: int) -> Outcome:
    """What the attack does to a partition; that one itself stays as it is."""
    probed, cards = recording.cards[:PROBES], recording.cards[PROBES : PROBES + kind.cards]
    probe = recording.frauds(probed, FRAUD_FACTOR, PROBES, "probe")
    following = recording.following({card for card, _ in cards})
    before = partition.copy().score(*probe)
    undisturbed = partition.copy().score(*following)
    attacked = partition.copy()
    found = _packed(recording, attacked, kind, size)
    learned = (attacked.state.learned - partition.state.learned) / size
    after = attacked.copy().score(*probe)
    disturbed = attacked.score(*following)
    orders = [order for one in (*found, disturbed) for order in attacked.orders(one)]
    return Outcome(
        kind=kind.name,
        size=size,
        is_guarded=partition.is_guarded,
        learned=learned,
        risk=(_median(before.risk), _median(after.risk)),
        tail_share=(_median(before.share[:, HALF_SPACE]), _median(after.share[:, HALF_SPACE])),
        genuine=(_flagged(undisturbed), _flagged(disturbed)),
        order=min(orders, default=math.nan),
    )


def _packed(recording: Recording, partition: Partition, kind: Kind, size: int) -> list[RiskBlock]:
    """The attack itself, in batches."""
    parts = [slice(start, start + BATCH_ROWS) for start in range(0, size, BATCH_ROWS)]
    if kind.cards:
        cards = recording.cards[PROBES : PROBES + kind.cards]
        keys, values = recording.frauds(cards, kind.factor, size, "attack")
        return [partition.score(keys[part], values[part]) for part in parts]
    frauds = recording.frauds(recording.cards[:PROBES], kind.factor, PROBES, "attack")
    like = partition.copy().score(*frauds)
    rows = np.arange(size) % PROBES
    users = np.arange(size).astype(np.uint32)
    return [
        partition.score_rows(like.values[rows[part]], users[part], like.mode[rows[part]])
        for part in parts
    ]


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values))


def _flagged(block: RiskBlock) -> float:
    return float((block.severity > 0).mean())


def main(
    name: Annotated[str, typer.Option("--sample", help="Recording to attack.")] = "sparkov",
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Replay every attack at every size and print what came of it."""
    recording, model = Recording.of(name), load(default_model_dir())
    sides = [settled(recording, model, is_guarded=guarded) for guarded in (False, True)]
    outcomes = [
        attack(recording, side, kind, size) for kind in KINDS for size in SIZES for side in sides
    ]
    Console(width=130).print(_table(outcomes))
    if report:
        found = msgspec.json.encode([asdict(one) for one in outcomes])
        report.write_bytes(msgspec.json.format(found, indent=2) + b"\n")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="before → after", box=None)
    for words in ("attack", "payments", "guards", "that taught", "risk", "trees' tail share"):
        table.add_column(words, justify="left" if words in ("attack", "guards") else "right")
    for words in ("genuine ≥ MEDIUM", "lowest order"):
        table.add_column(words, justify="right")
    for one in outcomes:
        table.add_row(
            one.kind,
            f"{one.size:,}",
            "on" if one.is_guarded else "off",
            f"{one.learned:.1%}",
            "{:.1f} → {:.1f}".format(*one.risk),
            "{:.3f} → {:.3f}".format(*one.tail_share),
            "{:.1%} → {:.1%}".format(*one.genuine),
            f"{one.order:.2f}" if not math.isnan(one.order) else "",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
