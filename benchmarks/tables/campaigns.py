"""The tables of the campaigns that break things: crash and stress."""

import statistics
from typing import Any, Final

from benchmarks.tables.blocks import Results, Rows, Tables, from_results, markdown

_CRASH_HEADING: Final = (
    "fault",
    "n",
    "kills",
    "SIGTERMs, worst exit s",
    "records",
    "lost",
    "duplicate",
    "verdicts differ",
    "profiles differ",
    "other differ",
    "ready again s, median",
    "worst",
)
_STRESS_HEADING: Final = ("fault", "n", "measured", "s", "passed")
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


def crash(report: Results) -> str:
    """One line a row of the campaign, and their sums."""
    rows = report["rows"]
    return markdown([_CRASH_HEADING, *map(_crash_line, rows), _sums(rows)])


def stress(report: Results) -> str:
    """One line a row, with what was measured; a failed one can't be overlooked."""
    rows: Rows = [_STRESS_HEADING, *map(_stress_line, report["rows"])]
    return markdown(rows, left=(0, 2, 4))


def _crash_line(row: dict[str, Any]) -> list[str]:
    found, ready, stops = row["findings"], row["ready_again_s"], row["stops"]
    worst = f"{len(stops)}, {max(one['seconds'] for one in stops):.1f}" if stops else ""
    cells = [row["name"], row["faults"], row["kills"], worst, f"{found['records']:,}"]
    cells += _differences(found)
    cells += [f"{statistics.median(ready):.1f}", f"{max(ready):.1f}"] if ready else ["", ""]
    return [str(cell) for cell in cells]


def _sums(rows: list[dict[str, Any]]) -> list[str]:
    stops = [one["seconds"] for row in rows for one in row["stops"]]
    ready = [seconds for row in rows for seconds in row["ready_again_s"]]
    differences = [_differences(row["findings"]) for row in rows]
    cells: list[object] = ["**all**", sum(row["faults"] for row in rows)]
    cells += [sum(row["kills"] for row in rows), f"{len(stops)}, {max(stops):.1f}"]
    cells += [f"{sum(row['findings']['records'] for row in rows):,}"]
    cells += [sum(column) for column in zip(*differences, strict=True)]
    cells += [f"{statistics.median(ready):.1f}", f"{max(ready):.1f}"]
    return [str(cell) for cell in cells]


def _differences(found: dict[str, Any]) -> list[int]:
    other = sum(count for name, count in found.items() if name not in _APART)
    return [
        found["lost"],
        found["duplicate"],
        found["differing_verdicts"],
        found["differing_profiles"],
        other,
    ]


def _stress_line(row: dict[str, Any]) -> list[str]:
    measured = ", ".join(f"{name} {_shown(value)}" for name, value in row["measured"].items())
    passed = "yes" if row["passed"] else "**no**"
    return [row["fault"], f"{row['n']:,}", measured, f"{row['seconds']:.0f}", passed]


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


TABLES: Final[Tables] = {
    "crash": from_results("crash", crash),
    "stress": from_results("stress", stress),
}
