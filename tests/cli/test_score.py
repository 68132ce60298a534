"""`streamapp score` as a user runs it: files, figures, mistakes."""

import base64
import json
import re
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from streamapp.cli import main
from streamapp.cli.errors import UsageError
from streamapp.replay.brokerless import BrokerlessRun, score_recorded
from streamapp.replay.reader import recorded
from streamapp.replay.sample import sample
from streamapp.replay.score_file import InterruptedRun, ScoreFigures, ScoreJob, score_file
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

ROWS = 1_500


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests don't count."""
    monkeypatch.delenv("STREAMAPP_CONFIG_FILE", raising=False)


def invoke(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main.app, ["score", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """The one line of a refused run."""
    error = invoke(*arguments).exception
    assert isinstance(error, UsageError)
    assert "\n" not in str(error)
    return str(error)


def expected(limit: int = ROWS, partitions: int = 4, skip: int = 0) -> list[bytes]:
    """The verdicts on the sample, by the function the command stands on."""
    batches = recorded(sample("sparkov"), limit=limit, skip=skip)
    model = load(default_model_dir())
    outcomes = score_recorded(batches, model, partitions=partitions)
    return [payload for outcome in outcomes for payload in outcome.payloads]


def test_verdicts_are_written_byte_for_byte_in_order(tmp_path: Path) -> None:
    """One a line, as published; no dead letters; figures at the end."""
    out = tmp_path / "out.jsonl"
    result = invoke("sample:sparkov", "--output", out, "--limit", ROWS, "--batch", 7)
    assert 0 == result.exit_code, result.output
    assert b"".join(payload + b"\n" for payload in expected()) == out.read_bytes()
    assert b"" == (tmp_path / "out.jsonl.dlq.jsonl").read_bytes()
    assert re.search(r"transactions +1,500\b", result.output)
    assert ["out.jsonl", "out.jsonl.dlq.jsonl"] == sorted(p.name for p in tmp_path.iterdir())


def test_parquet_has_columns_for_analysts_and_the_verdict_itself(tmp_path: Path) -> None:
    """Each row is one verdict; its columns repeat what the verdict says."""
    out = tmp_path / "out.parquet"
    result = invoke("sample:sparkov", "--output", out, "--limit", ROWS, "--partitions", 1)
    assert 0 == result.exit_code, result.output
    table = pq.read_table(out)
    payloads = expected(partitions=1)
    assert payloads == [verdict.encode() for verdict in table["verdict"].to_pylist()]
    for row in table.slice(0, 300).to_pylist():
        verdict = json.loads(row.pop("verdict"))
        assert "; ".join(reason["text"] for reason in verdict["reasons"]) == row.pop("reasons")
        assert verdict["timestamp"] == f"{row.pop('timestamp'):%Y-%m-%dT%H:%M:%S.000Z}"
        assert row == {name: verdict[name] for name in row}


def test_history_is_learned_from_but_not_written(tmp_path: Path) -> None:
    """What is written is the end of a run over both."""
    history = tmp_path / "history.jsonl"
    [batch] = recorded(sample("sparkov"), limit=1_000)
    history.write_bytes(b"\n".join(batch.values))
    out = tmp_path / "out.jsonl"
    result = invoke(
        *("sample:sparkov", "--output", out, "--history", history),
        *("--skip", 1_000, "--limit", ROWS - 1_000),
    )
    assert 0 == result.exit_code, result.output
    assert expected()[1_000:] == out.read_bytes().splitlines()
    assert re.search(r"history +1,000\b", result.output)


def test_bad_messages_go_to_the_file_of_dead_letters(tmp_path: Path) -> None:
    """With reason, field, place and their bytes; their neighbours get verdicts."""
    [batch] = recorded(sample("sparkov"), limit=2)
    odd = b'{"tx_id":"1","user_id":"7","amount":-1,"timestamp":0}\xc3'
    negative = b'{"tx_id":"1","user_id":"7","amount":-1,"timestamp":0}'
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n".join([batch.values[0], odd, negative, batch.values[1]]))
    out = tmp_path / "out.jsonl"
    result = invoke(source, "--output", out, "--partitions", 1, "--topic", "eu.tx")
    assert 0 == result.exit_code, result.output
    verdicts = [json.loads(line)["verdict_id"] for line in out.read_bytes().splitlines()]
    assert ["eu.tx-0-0", "eu.tx-0-3"] == verdicts
    lines = (tmp_path / "out.jsonl.dlq.jsonl").read_bytes().splitlines()
    letters = [json.loads(line) for line in lines]
    assert [odd, negative] == [base64.b64decode(one["value_base64"]) for one in letters]
    assert [("eu.tx", 0, 1), ("eu.tx", 0, 2)] == [
        (one["topic"], one["partition"], one["offset"]) for one in letters
    ]
    assert ("out_of_range", "amount") == (letters[1]["reason"], letters[1]["field"])
    assert re.search(r"dead letters +2\b", result.output)


def test_topic_and_partitions_come_from_the_settings_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names in the verdicts are those of the worker under the same settings."""
    monkeypatch.setenv("STREAMAPP_TOPICS__PREFIX", "eu.")
    monkeypatch.setenv("STREAMAPP_TOPICS__PARTITIONS", "1")
    out = tmp_path / "out.jsonl"
    assert 0 == invoke("sample:sparkov", "--output", out, "--limit", 3).exit_code
    verdicts = [json.loads(line)["verdict_id"] for line in out.read_bytes().splitlines()]
    assert [f"eu.transactions-0-{offset}" for offset in range(3)] == verdicts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.parquet", "--output", "out.jsonl"), "absent.parquet: .*No such file"),
        (("in.xml", "--output", "out.jsonl"), "in.xml: suffix is .xml"),
        (("sample:nilson", "--output", "out.jsonl"), "no sample nilson, expected one of"),
        (("sample:sparkov", "--output", "out.csv"), "out.csv: suffix is .csv, expected .jsonl"),
        (("sample:sparkov", "--output", "no/out.jsonl"), "No such file"),
        (("sample:sparkov", "--output", "out.jsonl", "--model", "."), "manifest.json: there is no"),
        (("sample:sparkov", "--output", "o.jsonl", "--history", "a.csv"), "a.csv: .*No such file"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    """What is wrong and where; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        raise UsageError(refused(*arguments))
    assert [] == list(tmp_path.iterdir())


def test_a_mistake_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so on standard error."""
    monkeypatch.setattr(sys, "argv", ["streamapp", "score", "absent.csv", "--output", "o.jsonl"])
    with pytest.raises(SystemExit) as exit_:
        main.run()
    assert 2 == exit_.value.code
    assert capsys.readouterr().err.startswith("streamapp: absent.csv")


def test_a_run_that_breaks_off_leaves_the_old_files(tmp_path: Path) -> None:
    """Files appear whole: a bad row in the middle of the input writes nothing."""
    source = tmp_path / "in.csv"
    rows = [f"{i},7,1.5,2024-01-01T00:00:{i:02d}Z" for i in range(30)]
    source.write_text("\n".join(["tx_id,user_id,amount,timestamp", *rows, "31,7,much,2024-01-02"]))
    out = tmp_path / "out.jsonl"
    out.write_text("what was there\n")
    assert "column amount, row 30" in refused(source, "--output", out, "--batch", 10)
    assert "what was there\n" == out.read_text()
    assert ["in.csv", "out.jsonl"] == sorted(path.name for path in tmp_path.iterdir())


def test_an_interrupted_run_writes_nothing(tmp_path: Path) -> None:
    """Stopping is noticed between two batches."""
    stop = threading.Event()
    seen: list[int] = []

    def stop_after_the_first(figures: ScoreFigures) -> None:
        seen.append(figures.transactions)
        stop.set()

    run = BrokerlessRun(load(default_model_dir()))
    job = ScoreJob(sample("sparkov"), tmp_path / "out.jsonl", limit=500, batch_rows=100)
    with pytest.raises(InterruptedRun):
        score_file(run, job, stop=stop, on_progress=stop_after_the_first)
    assert [100] == seen
    assert [] == list(tmp_path.iterdir())
