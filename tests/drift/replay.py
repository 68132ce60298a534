"""Does the verdict keep up with the better of its members, whatever becomes of fraud?

    python -m tests.drift.replay [--kinds turns,stays] [--seeds 3] [--report out.json]

Generated traffic in which fraud turns from some patterns to others on the day the test begins, or
stays as it is, while labels are right, few or wrong; run as `streamapp evaluate` runs a recording,
and judged by the truth, not by the labels. It tells whether opinions are joined well; how well
fraud is found it can't tell, for who writes the frauds decides what finds them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.evaluation.backtest import LABEL_FED, LABEL_FREE, MEMBERS, RISK, Plan
from streamapp.lifecycle.evaluation.backtest import backtest as run_backtest
from streamapp.lifecycle.evaluation.traffic import Piece
from streamapp.replay.brokerless import RecordedTopic
from streamapp.replay.fraud_patterns import PATTERNS
from streamapp.replay.reader import recorded
from streamapp.replay.synthetic import Plan as Synthetic
from streamapp.replay.synthetic import synthetic

START_MS: Final = 1_704_067_200_000
USERS, DAYS = 150, 90
#: Frauds befall users early in their time, so several groups of them begin one after another.
GROUPS, GROUP_DAYS = 4, 20
TURN_MS: Final = START_MS + 70 * DAY_MS
#: Three models: the first knows nothing of a turn, the last has labels of it.
TEST_MS: Final = 42 * DAY_MS
PARTITIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What becomes of fraud. before, after: patterns until the test begins, and from then on.

    missed: share of frauds that labels call genuine; invented: as many, by their share among
    frauds, genuine payments that labels call fraud.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    missed: float = 0.0
    invented: float = 0.0


_ALL: Final = tuple(PATTERNS)
_LARGE: Final = ("bust_out", "sleeper")
_QUICK: Final = ("account_takeover", "card_testing", "velocity_burst", "compromised_merchant")

KINDS: Final = {
    "stays": Kind(_ALL, _ALL),
    "turns to large": Kind(_QUICK, _LARGE),
    "turns to quick": Kind(_LARGE, _QUICK),
    "turns at once": Kind(("card_testing",), ("account_takeover", "bust_out", "sleeper")),
    "few labels": Kind(_ALL, _ALL, missed=0.8),
    "wrong labels": Kind(_ALL, _ALL, missed=0.3, invented=0.3),
}


@dataclass(frozen=True, slots=True)
class Result:
    """Average precision by the truth, of each member and of the verdict."""

    kind: str
    seed: int
    rows: int
    frauds: int
    members: dict[str, float]
    verdict: float

    @property
    def shortfall(self) -> float:
        """How far the verdict is below the best of its members; below 0 where it is above."""
        return max(self.members.values()) - self.verdict


def measured(name: str, seed: int, directory: Path) -> Result:
    """The result on one traffic; the recording is written into the directory."""
    path = directory / f"{name.replace(' ', '_')}-{seed}.parquet"
    pa.parquet.write_table(traffic(KINDS[name], seed), path)
    plan = Plan(TURN_MS, refit_ms=14 * DAY_MS, test_ms=TEST_MS, label_train_ms=60 * DAY_MS)
    outcome = run_backtest(_pieces(path), plan, lambda _: None)
    truth = outcome.test.scenario > 0

    def precision(score: str) -> float:
        return float(average_precision_score(truth, outcome.scores[score]))

    return Result(
        kind=name,
        seed=seed,
        rows=len(truth),
        frauds=int(truth.sum()),
        members={one: precision(one) for one in (*MEMBERS, LABEL_FREE, LABEL_FED)},
        verdict=precision(RISK),
    )


def traffic(kind: Kind, seed: int) -> pa.Table:
    """Payments of the groups in order of time. is_fraud: what labels say; scenario: the truth."""
    table = pa.concat_tables([_group(seed, number) for number in range(GROUPS)])
    table = table.sort_by([("timestamp", "ascending"), ("tx_id", "ascending")])
    scenario, rng = table["scenario"].to_numpy(), np.random.default_rng(seed)
    is_after = table["timestamp"].cast(pa.int64()).to_numpy() >= TURN_MS
    kept = np.where(is_after, *(_drawn(scenario, names) for names in (kind.after, kind.before)))
    kept |= scenario == 0
    table, is_fraud = table.filter(pa.array(kept)), scenario[kept] > 0
    chance = rng.random(len(is_fraud))
    missed = is_fraud & (chance < kind.missed)
    invented = ~is_fraud & (chance < kind.invented * is_fraud.mean())
    said = pa.array((is_fraud & ~missed | invented).astype(np.int8))
    return table.set_column(table.schema.get_field_index("is_fraud"), "is_fraud", said)


def _group(seed: int, number: int) -> pa.Table:
    """One group of users, with names of their own."""
    start_ms = START_MS + number * GROUP_DAYS * DAY_MS
    plan = Synthetic(USERS, DAYS, start_ms, 8, 7 * DAY_MS, seed * 100 + number)
    table = synthetic(plan).drop_columns(["label_time"])
    for column in ("tx_id", "user_id"):
        named = pc.binary_join_element_wise(f"{number}", table[column], "-")
        table = table.set_column(table.schema.get_field_index(column), column, named)
    return table


def _drawn(scenario: NDArray[np.int16], names: tuple[str, ...]) -> NDArray[np.bool_]:
    numbers = [_ALL.index(name) + 1 for name in names]
    return np.isin(scenario, numbers)


def _pieces(path: Path) -> Iterator[list[Piece]]:
    topic = RecordedTopic("drift", PARTITIONS)
    for batch in recorded(path):
        scenarios = batch.scenarios
        assert scenarios is not None
        yield [
            Piece(records, batch.labels[rows], scenarios[rows])
            for rows, records in topic.place(batch)
        ]


def main(
    kinds: Annotated[
        str | None, typer.Option(help=f"With commas between.  [{','.join(KINDS)}]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Traffics of each kind.")] = 3,
    report: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Run every kind of traffic and print how the verdict compares with its members."""
    names = kinds.split(",") if kinds else list(KINDS)
    with TemporaryDirectory() as directory:
        results = [
            measured(name, seed, Path(directory)) for name in names for seed in range(1, seeds + 1)
        ]
    Console(width=130).print(_table(results))
    if report:
        found = msgspec.json.encode({"runs": [asdict(one) for one in results]})
        report.write_bytes(msgspec.json.format(found, indent=2) + b"\n")


def _table(results: list[Result]) -> Table:
    table = Table(title="average precision", box=None)
    table.add_column("fraud")
    names = list(results[0].members)
    for words in ("seed", "payments", "fraud", *names, "verdict", "shortfall"):
        table.add_column(words.replace("_", " "), justify="right")
    for one in results:
        figures = [*one.members.values(), one.verdict]
        table.add_row(
            one.kind,
            f"{one.seed}",
            f"{one.rows:,}",
            f"{one.frauds:,}",
            *(f"{figure:.3f}" for figure in figures),
            f"{max(one.shortfall, 0.0):.3f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
