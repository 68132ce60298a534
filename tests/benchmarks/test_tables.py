"""The tables of README and the guides are those of the committed results."""

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.tables.blocks import filled
from benchmarks.tables.campaigns import crash, stress
from benchmarks.tables.pages import PAGES
from benchmarks.tables.performance import conditions, latency
from tests.crash.campaign import RowResult
from tests.crash.checker import Findings
from tests.crash.fleet import Stop
from tests.stress.campaign import Result


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_shows_the_committed_results(page: Path) -> None:
    """Where this fails, `make tables` writes them."""
    text = page.read_text("utf-8")
    assert "<!-- table: " in text
    assert filled(text, PAGES[page]) == text


def test_what_stands_around_a_table_stays() -> None:
    """Only what is between its marks is made anew."""
    page = "before\n<!-- table: one -->\nold\n<!-- end -->\nafter\n"
    assert "before\n<!-- table: one -->\n\nnew\n\n<!-- end -->\nafter\n" == filled(
        page, {"one": lambda: "new"}
    )


def test_a_relay_stands_below_what_it_is_measured_beside() -> None:
    """Results from before there was one show none."""
    one = {
        "guarantee": "exactly_once",
        "isolation": "read_committed",
        "rate": 5_000,
        **dict.fromkeys(("p50", "p95", "p99", "p99_9", "max"), 1.5),
        "over_250_ms": 0,
        "payments": 10_000,
    }
    shown = [line[0] for line in latency({"medians": [one], "relay": [one]})]
    assert ["", "exactly once", "relay, exactly once"] == shown
    assert 2 == len(latency({"medians": [one]}))


def test_cores_that_went_elsewhere_are_told_below_a_table() -> None:
    """To programs beside the measured ones, or to the host's other machines; a little is not."""
    conditions_of = {
        "settings": {"runs": 3, "partitions": 4},
        "broker": {"kind": "kafka", "version": "4"},
        "machine": {"cores": 2, "cpu": "some", "memory_gib": 8},
        "versions": {"python": "3"},
    }

    def below(*cores: dict[str, float]) -> str:
        runs = [{"paced": [{"window": {"cores": one}}]} for one in cores]
        return conditions(conditions_of | {"runs": runs}).partition("4 partitions.")[2]

    assert not below({"others": 0.1})
    assert not below({"others": 0.1, "stolen": 0.1})
    assert " The machine's host took 0.4 cores meanwhile." == below(
        *({"others": 0.0, "stolen": stolen} for stolen in (0.0, 0.9, 0.4))
    )
    assert " Other programs took 0.2 cores meanwhile." == below({"others": 0.2, "stolen": 0.0})


def test_each_row_of_a_crash_campaign_has_its_line() -> None:
    """With differences by kind, and the sums of all rows."""
    findings = Findings(records=1_000, profiles=9, lost=1, duplicate=2, differing_sink_rows=4)
    rows = [
        RowResult("kill", 2, 3, [Stop(0, 1.25)], ready_again_s=[1.0, 3.0], findings=findings),
        RowResult("stop", 1, 0, [], ready_again_s=[8.0], findings=Findings(records=500)),
    ]
    assert [
        "| kill | 2 | 3 | 1, 1.2 | 1,000 | 1 | 2 | 0 | 0 | 4 | 2.0 | 3.0 |",
        "| stop | 1 | 0 |  | 500 | 0 | 0 | 0 | 0 | 0 | 8.0 | 8.0 |",
        "| **all** | 3 | 3 | 1, 1.2 | 1,500 | 1 | 2 | 0 | 0 | 4 | 3.0 | 8.0 |",
    ] == crash({"rows": [asdict(row) for row in rows]}).splitlines()[2:]


def test_a_failed_row_of_the_stress_campaign_can_not_be_overlooked() -> None:
    """A line a row, with what was measured."""
    rows = [Result("flood", 5000, {"letters": 1034}, 7.4), Result("disk", 3, {}, 9.9, "late")]
    report = {"rows": [asdict(row) | {"passed": not row.error} for row in rows]}
    assert [
        "| flood | 5,000 | letters 1,034 | 7 | yes |",
        "| disk | 3 |  | 10 | **no** |",
    ] == stress(report).splitlines()[2:]
