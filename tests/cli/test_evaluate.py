"""`streamapp evaluate` as a user runs it: table, JSON, page, mistakes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from streamapp.cli import main
from streamapp.cli.errors import UsageError
from streamapp.replay.sample import sample

FIGURES = [
    "average_precision",
    "auc_roc",
    "recall_at_0.1pct",
    "recall_at_1pct",
    "precision_at_0.1pct",
    "precision_at_1pct",
    "card_precision_at_100",
]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests don't count."""
    monkeypatch.delenv("STREAMAPP_CONFIG_FILE", raising=False)


def invoke(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main.app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """History and test: three weeks of a sample, and what follows."""
    directory = tmp_path_factory.mktemp("recordings")
    table = pq.read_table(sample("handbook")).slice(0, 24_000)
    history, test = directory / "history.parquet", directory / "test.parquet"
    pq.write_table(table.slice(0, 18_000), history)
    pq.write_table(table.slice(18_000), test)
    return history, test


@pytest.fixture(scope="module")
def document(recordings: tuple[Path, Path]) -> dict[str, Any]:
    """What --json prints."""
    history, test = recordings
    given = ("--history", history, "--test", test, "--label-delay", "1d")
    result = invoke(*given, "--json", "--bootstrap", 0)
    assert 0 == result.exit_code, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_json_has_exactly_the_documented_keys(document: dict[str, Any]) -> None:
    """Of the document, of each score, of severities and weeks."""
    assert [
        "rows",
        "frauds",
        "label_free",
        "label_fed",
        "verdict",
        "members",
        "severity",
        "weeks",
        "baselines",
        "intervals",
        "scenarios",
    ] == [*document]
    names = ("label_free", "label_fed", "verdict")
    others = (*document["members"].values(), *document["baselines"].values())
    for score in (*(document[name] for name in names), *others):
        assert FIGURES == [*score]
    assert ["MEDIUM", "HIGH", "CRITICAL"] == [*document["severity"]]
    for week in document["weeks"]:
        assert ["start", "rows", "frauds", "average_precision", "severity"] == [*week]


def test_the_test_file_is_what_is_measured(document: dict[str, Any]) -> None:
    """All of it, its frauds too, and weeks add up."""
    assert 6_000 == document["rows"] == sum(week["rows"] for week in document["weeks"])
    assert document["frauds"] == sum(week["frauds"] for week in document["weeks"]) > 0
    shares = document["severity"]
    assert shares["CRITICAL"]["share"] == shares["CRITICAL"]["share_or_worse"]
    worse = shares["HIGH"]["share"] + shares["CRITICAL"]["share"]
    assert pytest.approx(worse, abs=2e-6) == shares["HIGH"]["share_or_worse"]


def test_without_labels_there_is_no_label_fed_score(
    recordings: tuple[Path, Path], document: dict[str, Any]
) -> None:
    """--label-days 0; the ensemble's figures are the same with them and without."""
    history, test = recordings
    given = ("--history", history, "--test", test, "--label-days", 0, "--bootstrap", 0, "--json")
    result = invoke(*given)
    assert 0 == result.exit_code, result.output
    without = json.loads(result.stdout)
    assert without["label_fed"] is None
    assert document["label_free"] == without["label_free"]
    # A risk has two decimals, so a few payments are equal by it that are not by log p.
    assert without["label_free"] == pytest.approx(without["verdict"], abs=1e-3)
    assert document["members"] == without["members"]


def test_one_file_may_hold_both(recordings: tuple[Path, Path], tmp_path: Path) -> None:
    """--from cuts it, and gives the same figures as two files cut there."""
    table = pq.read_table(sample("handbook")).slice(0, 24_000)
    both, at = tmp_path / "both.parquet", "2018-04-20"
    pq.write_table(table, both)
    given = ("--from", at, "--json", "--bootstrap", 0, "--label-days", 0)
    one = invoke("--test", both, *given)
    two = invoke("--history", recordings[0], "--test", recordings[1], *given)
    assert 0 == one.exit_code == two.exit_code, one.output + two.output
    assert json.loads(one.stdout) == json.loads(two.stdout)


class Tags(HTMLParser):
    """Counts tags and notes what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Every tag but those that stand alone has to be closed."""
        self.seen.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "line", "circle", "polyline", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes the last one opened."""
        if tag not in ("meta", "line", "circle", "polyline", "br"):
            assert self.open.pop() == tag


def test_table_and_page_say_the_same(recordings: tuple[Path, Path], tmp_path: Path) -> None:
    """The page stands alone, is well formed, and holds the figures of the table."""
    history, test = recordings
    report = tmp_path / "report.html"
    given = ("--history", history, "--test", test, "--label-delay", "1d")
    result = invoke(*given, "--bootstrap", 20, "--report", report)
    assert 0 == result.exit_code, result.output
    page = report.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert ([], []) == (tags.open, tags.loads)
    assert 2 <= tags.seen.count("svg")
    [embedded] = re.findall(r'id="figures">(.*)</script>', page)
    precision = json.loads(embedded)["verdict"]["average_precision"]
    assert f"{precision:.3f}" in result.stdout
    assert f"<td>{precision:.3f}<small>" in page
    for words in (
        "isolation forest",
        "label fed",
        "CRITICAL",
        "scenario" if "Scenario" in page else "score",
    ):
        assert words in result.stdout


def test_the_handbook_protocol_is_a_week(recordings: tuple[Path, Path]) -> None:
    """Seven days at most, with the cards known to be compromised left out."""
    history, test = recordings
    given = ("--history", history, "--test", test, "--json", "--bootstrap", 0)
    week = invoke(*given, "--protocol", "handbook", "--label-delay", "5d")
    assert 0 == week.exit_code, week.output
    document = json.loads(week.stdout)
    assert 1 == len(document["weeks"])
    assert document["rows"] < 6_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--test", "sample:handbook"), "give --history, or --from"),
        (("--test", "absent.parquet", "--from", "2018-05-01"), "absent.parquet: .*No such file"),
        (("--test", "sample:handbook", "--label-delay", "soon"), "--label-delay is 'soon'"),
        (("--test", "sample:handbook", "--from", "2018-04-01"), "no history"),
        (("--test", "sample:handbook", "--from", "2030-01-01"), "no transaction"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    """What is wrong and the way out."""
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError)
    assert re.search(message, str(error))
    assert "\n" not in str(error)
