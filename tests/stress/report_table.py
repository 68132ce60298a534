"""The table in docs/stress.md, from the campaign's report: `make stress-table`."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.guide_tables import replaced

ROOT: Final = Path(__file__).parents[2]
REPORT: Final = ROOT / "benchmarks" / "results" / "stress.json"
GUIDE: Final = ROOT / "docs" / "stress.md"
BEGIN: Final = "<!-- Made from benchmarks/results/stress.json by `make stress-table`. -->\n"
_HEAD: Final = "| fault | n | measured | s | passed |\n|---|--:|---|--:|---|\n"


def with_table(text: str, report: dict[str, Any]) -> str:
    """The guide's text with this report's table between its marks."""
    return replaced(text, BEGIN, _HEAD + "".join(map(_line, report["rows"])))


def _line(row: dict[str, Any]) -> str:
    measured = ", ".join(f"{name} {_shown(value)}" for name, value in row["measured"].items())
    passed = "yes" if row["passed"] else "**no**"
    return f"| {row['fault']} | {row['n']:,} | {measured} | {row['seconds']:.0f} | {passed} |\n"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Put the table of the report into the guide."""
    report = msgspec.json.decode(REPORT.read_bytes())
    GUIDE.write_text(with_table(GUIDE.read_text("utf-8"), report), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
