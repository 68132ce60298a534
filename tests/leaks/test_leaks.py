"""The look at all that was said finds what is planted, and fails the run for it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from streamapp.replay.reader import recorded
from tests.leaks.marks import leaks, leaks_of_metrics, leaks_of_span, payments

ROOT = Path(__file__).parents[2]


def test_payments_are_marked() -> None:
    """Every user and amount of what is replayed would be found, were it logged."""
    [batch] = recorded(payments(), limit=500, batch_rows=500)
    for key, value in zip(batch.keys, batch.values, strict=True):
        kinds = [one.split()[0] for one in leaks(value.decode())]
        assert ["user", "amount"] == kinds
        assert [f"user {key.decode()}"] == [*leaks(key.decode())]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "scored", "user": "payer-17"}',
        "ValueError: amount 1234.5 is wrong",
        '{"event": "scored", "amount": 24.3607}',
        "Authorization: Bearer sak_ab12_" + "x" * 43,
        "postgresql://me:hunter2@127.0.0.1/db",
        "eyJhbGciOiJ.eyJpc3MiOi.c2ln",
    ],
)
def test_each_kind_is_found(line: str) -> None:
    """In events and in what libraries print."""
    assert 1 == len([*leaks(f"started\n{line}\nstopped")])


def test_what_is_no_leak_is_left_alone() -> None:
    """Times, places, counts, key ids, and an address without a password."""
    assert [] == [
        *leaks('{"event": "state_recovered", "seconds": 24.307, "partitions": [0], "port": 5432}'),
        *leaks('{"event": "key_created", "id": "sak_ab12", "at": "2026-11-21T10:00:07.1207Z"}'),
        *leaks("http://127.0.0.1:9092"),
        *leaks_of_metrics('streamapp_stage_seconds_sum{stage="wait"} 24.3607\n'),
        *leaks_of_span({"name": "score", "start_time": "2026-11-21T10:00:24.3607Z"}),
    ]
    assert ["user payer-3"] == [*leaks_of_metrics('streamapp_x{user="payer-3"} 1.0\n')]
    assert ["user payer-3"] == [*leaks_of_span({"attributes": {"user": "payer-3"}})]


#: A leak each: in a log, in a page of metrics, in output of the run's own process.
_PLANTED = """
def test_log(tmp_path):
    tmp_path.joinpath("worker-0.log").write_text("user payer-17")

def test_page(tmp_path):
    tmp_path.joinpath("api.metrics").write_text('a{user="payer-18"} 1.0')

def test_own():
    print("payer-19")
"""


@pytest.mark.parametrize(("user", "code"), [("payer-", 1), ("nobody-", 0)])
def test_a_run_that_leaks_fails(user: str, code: int) -> None:
    """Wherever it leaks; the same run without it passes."""
    with tempfile.TemporaryDirectory(prefix="streamapp-test-") as name:  # not seen by this run
        directory = Path(name)
        directory.joinpath("conftest.py").write_text(
            "from tests.leaks.session import pytest_runtest_logreport, told_nobody\n"
        )
        directory.joinpath("test_it.py").write_text(_PLANTED.replace("payer-", user))
        own = ["-p", "no:cacheprovider", "--basetemp", directory / "base", "--rootdir", directory]
        outcome = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *own, directory],
            cwd=ROOT,
            env={**os.environ, "PYTEST_ADDOPTS": "-rP", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert code == outcome.returncode, outcome.stdout
    assert ("3 leaks in logs or metrics" in outcome.stdout) == bool(code)
