"""The stress campaign's table in the guide."""

from dataclasses import asdict

from tests.guide_tables import END
from tests.stress.campaign import Result
from tests.stress.report_table import BEGIN, GUIDE, with_table


def test_a_report_becomes_a_table() -> None:
    """A line a row with what was measured, and a failed one can't be overlooked."""
    rows = [Result("flood", 5000, {"letters": 1034}, 7.4), Result("disk", 3, {}, 9.9, "late")]
    report = {"rows": [asdict(row) | {"passed": not row.error} for row in rows]}
    text = with_table(f"before\n{BEGIN}old\n{END}after\n", report)
    assert "| flood | 5,000 | letters 1,034 | 7 | yes |" in text
    assert "| disk | 3 |  | 10 | **no** |" in text
    assert (True, True) == (text.startswith("before\n"), text.endswith("after\n"))
    assert "old" not in text


def test_the_guide_has_a_place_for_it() -> None:
    """Both marks, in their order."""
    text = GUIDE.read_text("utf-8")
    assert 0 < text.index(BEGIN) < text.index(END)
