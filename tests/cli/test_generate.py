"""`streamapp generate` as a user runs it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamapp.cli import main
from streamapp.cli.errors import UsageError
from streamapp.replay.reader import recorded
from streamapp.scoring.pipeline import Pipeline

SMALL = ("--users", 40, "--days", 60, "--episodes", 2)


def invoke(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main.app, ["generate", *map(str, arguments)])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_every_payment_is_scored(tmp_path: Path, suffix: str) -> None:
    """The file is a recording like any other, with labels; nothing of it is refused."""
    output = tmp_path / f"payments{suffix}"
    result = invoke(output, *SMALL)
    assert 0 == result.exit_code, result.output
    pipeline, rows, frauds = Pipeline.load(), 0, 0
    for batch in recorded(output):
        scored = pipeline.process(batch.keys, batch.values)
        assert [] == scored.dead_letters
        assert 0 == scored.duplicates
        rows += len(scored.rows)
        frauds += int((batch.labels == 1).sum())
    assert f"{rows:,} payments of 40 users, {frauds:,} fraud, in " in result.output


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    """Both files."""
    first, again = tmp_path / "first.parquet", tmp_path / "again.parquet"
    for path in (first, again):
        assert 0 == invoke(path, *SMALL).exit_code
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("out.txt",), "give .parquet or .csv"),
        (("there.csv",), "add --force"),
        (("out.csv", "--patterns", "bust_out,heist"), "no 'heist', there are bust_out,"),
        (("out.csv", "--label-delay", "soon"), "give days or hours"),
        (("out.csv", "--users", 3), "more users, more days or fewer episodes"),
        (("no/such/out.csv", *SMALL), "No such file"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], told: str
) -> None:
    """One line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    result = invoke(*arguments)
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)
    assert "mine" == Path("there.csv").read_text()
    assert not Path("out.csv").exists()
