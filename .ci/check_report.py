"""Holds the demo's report to what the README promises; prints one line, exits 1 if it fails."""

import json
import sys
from pathlib import Path

TRANSACTIONS_MIN = 100_000


def faults(report: dict[str, float]) -> list[str]:
    """What is wrong with the figures; empty if nothing is."""
    found = []
    transactions, verdicts = report["transactions"], report["verdicts"]
    if transactions < TRANSACTIONS_MIN:
        found.append(f"{transactions} transactions, expected at least {TRANSACTIONS_MIN}")
    if verdicts + report["dead_letters"] != transactions:
        found.append(f"{verdicts} verdicts + {report['dead_letters']} dead ≠ {transactions}")
    if not 0 < report["anomalies"] < verdicts:
        found.append(f"{report['anomalies']} anomalies of {verdicts} verdicts")
    if report["rows_stored"] != verdicts:
        found.append(f"{report['rows_stored']} rows stored of {verdicts} verdicts")
    return found


def main() -> int:
    """Check the report named on the command line."""
    found = faults(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("demo report:", "; ".join(found) or "every transaction has its verdict or dead letter")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
