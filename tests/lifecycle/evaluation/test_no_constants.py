"""Nothing of a recording is built in: not its currency, not its calendar, not its names."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from streamapp.features.contract import DAY_MS
from streamapp.lifecycle.evaluation.backtest import MEMBERS, RISK, Outcome, Plan, backtest
from streamapp.lifecycle.evaluation.traffic import Piece
from streamapp.replay.brokerless import RecordedTopic
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample

ROWS, WEEKS, FACTOR = 24_000, 8, 1_000.0
#: The sample's first rows go from 1 April to 27 April 2018.
TEST_MS = int(np.datetime64("2018-04-15", "ms").astype(np.int64))


def disguised(table: pa.Table) -> pa.Table:
    """Amounts in another currency, eight weeks later, merchants under other names."""
    for name, column in (
        ("amount", pc.multiply(table["amount"], FACTOR)),
        ("timestamp", pc.add(table["timestamp"], pa.scalar(WEEKS * 7 * DAY_MS, pa.duration("ms")))),
        ("merchant_id", pc.binary_join_element_wise(table["merchant_id"].cast("string"), "x", "-")),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def measured(table: pa.Table, path: Path, test_ms: int) -> Outcome:
    """One model of the first two weeks on the rest."""
    pq.write_table(table, path)
    topic = RecordedTopic("t", 1)
    pieces = (
        [
            Piece(records, batch.labels[rows], np.full(len(rows), -1, np.int16))
            for rows, records in topic.place(batch)
        ]
        for batch in recorded(path)
    )
    return backtest(pieces, Plan(test_ms, train_ms=14 * DAY_MS, refit_ms=0), lambda _: None)


def test_another_currency_calendar_and_names_are_told_as_well(tmp_path: Path) -> None:
    """A rule that names a simulator's amounts, days or merchants would find nothing there."""
    table = pq.read_table(sample("handbook")).slice(0, ROWS)
    plain = measured(table, tmp_path / "plain.parquet", TEST_MS)
    other_ms = TEST_MS + WEEKS * 7 * DAY_MS
    other = measured(disguised(table), tmp_path / "other.parquet", other_ms)
    is_fraud = plain.test.label == 1
    assert 50 < is_fraud.sum()
    for name in (*MEMBERS, RISK):
        first, second = (
            average_precision_score(is_fraud, one.scores[name]) for one in (plain, other)
        )
        assert first == pytest.approx(second, abs=0.02)
