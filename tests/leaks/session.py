"""Looks at all that a test run's workers, APIs and sinks said, when it ends.

Logs are the files `*.log` of the tests' directories, with the spans that `console` wrote to them;
pages of metrics what lies beside them as `*.metrics` (`WorkerProcess` and `ApiProcess` keep them);
captured output is that of the run's own process, where APIs and sinks run too, and its metrics are
those of its registry.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from tests.leaks.marks import leaks, leaks_of_metrics

_SHOWN_MAX = 20

#: Leaks in captured output, by test: too much is captured to be kept until the end.
_CAPTURED: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def told_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the run if anything that was said names a user, an amount or a secret."""
    yield
    found = [*_CAPTURED, *_said(tmp_path_factory.getbasetemp())]
    _CAPTURED.clear()
    shown = "\n".join(found[:_SHOWN_MAX])
    assert not found, f"{len(found)} leaks in logs or metrics of this run:\n{shown}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look at what a test's own process has logged."""
    for title, text in report.sections:
        if title.startswith("Captured"):
            _CAPTURED.extend(f"{report.nodeid}: {one}" for one in leaks(text))


def _said(directory: Path) -> Iterator[str]:
    for file in sorted(directory.rglob("*.log")):
        if not file.stem.isdigit():  # RocksDB's are numbered
            text = file.read_text(encoding="utf-8", errors="replace")
            yield from (f"{file}: {one}" for one in leaks(text))
    for file in sorted(directory.rglob("*.metrics")):
        yield from (f"{file}: {one}" for one in leaks_of_metrics(file.read_text("utf-8")))
    yield from (f"own metrics: {one}" for one in leaks_of_metrics(generate_latest().decode()))
