"""The table in docs/exactly-once.md, from the campaign's report: `make crash-table`."""

import statistics
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.guide_tables import replaced

ROOT: Final = Path(__file__).parents[2]
REPORT: Final = ROOT / "benchmarks" / "results" / "crash.json"
GUIDE: Final = ROOT / "docs" / "exactly-once.md"
BEGIN: Final = "<!-- Made from benchmarks/results/crash.json by `make crash-table`. -->\n"
_HEAD: Final = """\
| fault | n | kills | SIGTERMs, worst exit s | records | lost | duplicate | verdicts differ \
| profiles differ | other differ | ready again s, median | worst |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""
#: What a check counts beside differences, and those that have a column of their own.
_APART: Final = (
    "records",
    "profiles",
    "examples",
    "lost",
    "duplicate",
    "differing_verdicts",
    "differing_profiles",
)


def read_report() -> dict[str, Any]:
    """The report of the last full campaign."""
    report: dict[str, Any] = msgspec.json.decode(REPORT.read_bytes())
    return report


def table(report: dict[str, Any]) -> str:
    """One line a row of the campaign, and their sums."""
    return _HEAD + "".join(map(_line, report["rows"])) + _sums(report["rows"])


def _line(row: dict[str, Any]) -> str:
    found, ready, stops = row["findings"], row["ready_again_s"], row["stops"]
    worst = f"{len(stops)}, {max(one['seconds'] for one in stops):.1f}" if stops else ""
    cells = [row["name"], row["faults"], row["kills"], worst, f"{found['records']:,}"]
    cells += _differences(found)
    cells += [f"{statistics.median(ready):.1f}", f"{max(ready):.1f}"] if ready else ["", ""]
    return f"| {' | '.join(map(str, cells))} |\n"


def _sums(rows: list[dict[str, Any]]) -> str:
    stops = [one["seconds"] for row in rows for one in row["stops"]]
    ready = [seconds for row in rows for seconds in row["ready_again_s"]]
    differences = [_differences(row["findings"]) for row in rows]
    cells: list[object] = ["**all**", sum(row["faults"] for row in rows)]
    cells += [sum(row["kills"] for row in rows), f"{len(stops)}, {max(stops):.1f}"]
    cells += [f"{sum(row['findings']['records'] for row in rows):,}"]
    cells += [sum(column) for column in zip(*differences, strict=True)]
    cells += [f"{statistics.median(ready):.1f}", f"{max(ready):.1f}"]
    return f"| {' | '.join(map(str, cells))} |\n"


def _differences(found: dict[str, Any]) -> list[int]:
    other = sum(count for name, count in found.items() if name not in _APART)
    return [
        found["lost"],
        found["duplicate"],
        found["differing_verdicts"],
        found["differing_profiles"],
        other,
    ]


def with_table(text: str, report: dict[str, Any]) -> str:
    """The guide's text with this report's table between its marks."""
    return replaced(text, BEGIN, table(report))


def main() -> int:
    """Put the table of the report into the guide."""
    GUIDE.write_text(with_table(GUIDE.read_text("utf-8"), read_report()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
