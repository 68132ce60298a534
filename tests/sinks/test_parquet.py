"""Files: every verdict_id in exactly one row, whatever happens between two files."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.domain.verdict import MemberScore, Source
from streamapp.sinks.parquet.adapter import ParquetSink
from streamapp.sinks.parquet.settings import ParquetSettings
from streamapp.sinks.protocol import Fatal, StoredVerdict
from tests.sinks.subjects import ParquetSubject
from tests.sinks.verdicts import FEATURES, run_of, stored, verdict


def files(directory: Path) -> list[str]:
    """Names of all files, temporary ones included."""
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


def opened(directory: Path, file_rows_max: int = 1_000) -> ParquetSink:
    """A sink that owns partition 0."""
    sink = ParquetSink(ParquetSettings(directory=directory, file_rows_max=file_rows_max))
    sink.open()
    sink.assign({0: -1})
    return sink


def test_every_field_is_a_column(parquet_subject: ParquetSubject) -> None:
    """DuckDB reads times, nested scores, reasons and features as what they are."""
    sink = parquet_subject.sink()
    sink.write([stored(verdict(3))])
    sink.close()
    ((row),) = parquet_subject.query(
        "epoch_ms(event_time), isolation_forest, supervised, reasons[1].text,"
        " reasons[2].typical, cardinality(features), severity, source_offset, features_version"
    )
    score = MemberScore(0.61, 0.004)
    assert row == (
        1_546_300_980_000,
        {"raw": score.raw, "calibrated": score.calibrated},
        None,
        "amount 37× this user's usual",
        None,
        len(FEATURES),
        "HIGH",
        3,
        "f1",
    )


def test_file_is_named_after_its_first_offset(tmp_path: Path) -> None:
    """A full file appears at once; the rest waits for the flush. Nothing temporary stays."""
    sink = opened(tmp_path, file_rows_max=10)
    sink.write(run_of(10))
    assert ["partition-0000/00000000000000000000.parquet"] == files(tmp_path)
    sink.write(run_of(3, first=10))
    assert 10 == sink.held_from(0)
    sink.flush()
    assert "partition-0000/00000000000000000010.parquet" == files(tmp_path)[1]
    assert 2 == len(files(tmp_path))


def test_compression_is_zstd(tmp_path: Path) -> None:
    """Files are small."""
    sink = opened(tmp_path)
    sink.write(run_of(2))
    sink.close()
    metadata = pq.read_metadata(tmp_path / files(tmp_path)[0])
    assert "ZSTD" == metadata.row_group(0).column(0).compression


def test_memory_of_all_partitions_is_bounded(tmp_path: Path) -> None:
    """Beyond the bound the largest buffers become files, the small ones wait."""
    sink = ParquetSink(ParquetSettings(directory=tmp_path, buffer_bytes_max=2**20))
    sink.open()
    sink.write([*run_of(2_000), *run_of(5, partition=1)])
    assert sink.held_from(0) is None
    assert 0 == sink.held_from(1)


def test_repeat_below_the_high_water_is_found_in_old_files(tmp_path: Path) -> None:
    """A re-scored history adds no row, even after a restart and over many files."""
    sink = opened(tmp_path, file_rows_max=10)
    for first in range(0, 50, 10):
        sink.write(run_of(10, first=first))
    sink.close()
    again = [stored(verdict(n), offset=50 + n) for n in range(60)]
    assert 10 == opened(tmp_path).write(again)


def test_late_publication_below_the_high_water_is_kept(tmp_path: Path) -> None:
    """A source offset that comes out of order for the first time is no repeat."""
    sink = opened(tmp_path)
    sink.write([stored(verdict(5), offset=0), stored(verdict(2), offset=1)])
    sink.flush()
    assert 1 == sink.write([stored(verdict(3), offset=2), stored(verdict(2), offset=3)])


def test_slower_of_two_owners_stops(tmp_path: Path) -> None:
    """Of two processes that believe they own a partition one fails, and no row is there twice."""
    slow, fast = opened(tmp_path), opened(tmp_path)
    slow.write(run_of(5))
    fast.write(run_of(8))
    fast.flush()
    with pytest.raises(Fatal, match="another process"):
        slow.flush()
    assert 8 == len(ParquetSubject(tmp_path).rows())


def test_topic_made_again_is_refused(tmp_path: Path) -> None:
    """Offsets that the topic has not reached yet belong to another topic."""
    sink = opened(tmp_path)
    sink.write(run_of(20))
    sink.close()
    with pytest.raises(Fatal, match="made again; use an empty directory"):
        opened(tmp_path).assign({0: 5})


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file this sink did not write could hold the same rows unseen."""
    (tmp_path / "partition-0000").mkdir()
    (tmp_path / "partition-0000" / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(Fatal, match=r"other\.parquet is not a file of this sink"):
        opened(tmp_path)


def test_unfit_verdict_leaves_its_neighbours_stored(tmp_path: Path) -> None:
    """A number that no column holds costs its own row only."""
    odd = verdict(1, source=Source("transactions", 0, 2**70))
    sink = opened(tmp_path)
    batch = [stored(verdict(0)), stored(odd, offset=1), stored(verdict(2))]
    assert 2 == sink.write(batch)
    sink.close()
    assert {"transactions-0-0", "transactions-0-2"} == set(ParquetSubject(tmp_path).rows())


CRASH = """
import os, sys
from pathlib import Path
from unittest import mock
from tests.sinks.test_parquet import opened
from tests.sinks.verdicts import run_of
sink = opened(Path(sys.argv[1]))
sink.write(run_of(int(sys.argv[3])))
die = lambda *_, **__: os._exit(9)
with mock.patch(f"streamapp.sinks.parquet.shelf.{sys.argv[2]}", side_effect=die):
    sink.flush()
"""


@pytest.mark.parametrize("point", ["_sync", "os.link", "Path.unlink"])
def test_crash_while_completing_a_file_loses_and_repeats_nothing(
    tmp_path: Path, point: str
) -> None:
    """Killed before, at or after naming the file, a restart from the old offset mends it."""
    command = [sys.executable, "-c", CRASH, str(tmp_path), point, "7"]
    assert 9 == subprocess.run(command, check=False, timeout=60).returncode
    sink = opened(tmp_path)
    sink.write(run_of(12))
    sink.close()
    assert 12 == len(ParquetSubject(tmp_path).rows())
    assert [] == [name for name in files(tmp_path) if not name.endswith(".parquet")]


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "flush", "crash", "restart", "republish"]), st.integers(1, 9)
    ),
    max_size=25,
)


class Life:
    """A sink with a topic and a committed offset, as the runner would move them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.topic: list[StoredVerdict] = []
        self.sources = 0
        self.committed = self.position = 0
        self.sink = opened(directory, file_rows_max=7)

    def do(self, step: str, count: int) -> None:
        getattr(self, step)(count)

    def read(self, count: int) -> None:
        self.publish(range(self.sources, self.sources + count))
        self.sources += count
        self.write()

    def republish(self, count: int) -> None:
        """The worker went back by some records after a crash."""
        self.publish(range(max(0, self.sources - count), self.sources))
        self.write()

    def publish(self, sources: Sequence[int]) -> None:
        for source in sources:
            self.topic.append(stored(verdict(source), offset=len(self.topic)))

    def write(self) -> None:
        self.sink.write(self.topic[self.position :])
        self.position = len(self.topic)

    def flush(self, _: int) -> None:
        """Durable, and the commit arrives."""
        self.sink.flush()
        self.committed = self.position

    def crash(self, _: int) -> None:
        """Memory is gone; the next process starts at the committed offset."""
        self.sink = opened(self.directory, file_rows_max=7)
        self.position = self.committed
        self.write()

    def restart(self, _: int) -> None:
        """Stopped in good order, but the last commit was lost."""
        self.sink.close()
        self.crash(0)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_any_life_ends_with_each_verdict_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    """Reads, flushes, crashes, lost commits and repeats in any order: one row for each verdict."""
    life = Life(tmp_path_factory.mktemp("life"))
    with mock.patch("streamapp.sinks.parquet.shelf._sync"):  # speed: no power fails here
        for step, count in steps:
            life.do(step, count)
        life.sink.close()
    expected = {f"transactions-0-{n}" for n in range(life.sources)}
    assert expected == set(ParquetSubject(life.directory).rows())
    assert os.listdir(life.directory) in (["partition-0000"], [])
