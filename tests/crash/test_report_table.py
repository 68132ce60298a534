"""The table in the guide is made from the report of a campaign."""

from dataclasses import asdict

from tests.crash.campaign import RowResult
from tests.crash.checker import Findings
from tests.crash.fleet import Stop
from tests.crash.report_table import BEGIN, GUIDE, with_table
from tests.guide_tables import END


def test_each_row_has_its_line_between_the_marks_of_the_guide() -> None:
    """With differences by kind, and the sums of all rows; the text around it stays."""
    findings = Findings(records=1_000, profiles=9, lost=1, duplicate=2, differing_sink_rows=4)
    rows = [
        RowResult("kill", 2, 3, [Stop(0, 1.25)], ready_again_s=[1.0, 3.0], findings=findings),
        RowResult("stop", 1, 0, [], ready_again_s=[8.0], findings=Findings(records=500)),
    ]
    text = with_table(f"before\n{BEGIN}old\n{END}after\n", {"rows": [asdict(r) for r in rows]})
    assert text.startswith(f"before\n{BEGIN}\n| fault |")
    assert "\n| kill | 2 | 3 | 1, 1.2 | 1,000 | 1 | 2 | 0 | 0 | 4 | 2.0 | 3.0 |\n" in text
    assert "\n| stop | 1 | 0 |  | 500 | 0 | 0 | 0 | 0 | 0 | 8.0 | 8.0 |\n" in text
    assert "\n| **all** | 3 | 3 | 1, 1.2 | 1,500 | 1 | 2 | 0 | 0 | 4 | 3.0 | 8.0 |\n" in text
    assert text.endswith(f"\n{END}after\n")


def test_the_guide_has_a_place_for_it() -> None:
    """Both marks, once."""
    text = GUIDE.read_text("utf-8")
    assert (1, 1) == (text.count(BEGIN), text.count(END))
