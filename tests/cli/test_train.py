"""`streamapp train` as a user runs it, and the model that ships."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamapp.cli import main
from streamapp.cli.errors import UsageError
from streamapp.cli.train import SAMPLES
from streamapp.lifecycle.training import DEFAULT_INPUTS
from streamapp.replay.reader import row_count
from streamapp.replay.sample import TRAINING_ROWS, sample
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

LIMIT = 8_000

#: Transactions the demo scores, which the shipped model must not have been trained on.
DEMO_ROWS_MIN = 120_000


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests don't count."""
    monkeypatch.delenv("STREAMAPP_CONFIG_FILE", raising=False)


def invoke(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main.app, ["train", *map(str, arguments)])


def trained(directory: Path, *arguments: object) -> dict[str, bytes]:
    """The files of a model trained on the beginning of both samples."""
    result = invoke(*arguments, "--limit", LIMIT, "--output", directory)
    assert 0 == result.exit_code, result.output
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    """Arrays, manifest and card; and the card's own command gives them once more."""
    first = trained(tmp_path / "first", *SAMPLES)
    assert first == trained(tmp_path / "again", *SAMPLES)
    card = first["MODEL_CARD.md"].decode()
    [command] = re.findall(r"^    streamapp train (.*) --output DIR$", card, re.MULTILINE)
    invoked = invoke(*shlex.split(command), "--output", tmp_path / "third")
    assert 0 == invoked.exit_code
    third = {path.name: path.read_bytes() for path in sorted((tmp_path / "third").iterdir())}
    assert first == third


def test_version_and_severities_are_told(tmp_path: Path) -> None:
    """The version on standard output; the shares of the reference beside it."""
    result = invoke(*SAMPLES, "--limit", LIMIT, "--output", tmp_path / "m", "--seed", 3)
    assert f"{load(tmp_path / 'm').version} written to" in result.stdout
    for severity in ("LOW", "MEDIUM", "HIGH", "CRITICAL"):
        assert re.search(rf"{severity}\s+[\d,]+\s+[\d.]+%", result.output)


def test_inputs_and_partitions_may_be_chosen(tmp_path: Path) -> None:
    """They stand in the manifest and in the card's command."""
    given = ("--inputs", "log_amount, sum_24h", "--partitions", 2)
    files = trained(tmp_path / "m", "sample:sparkov", *given)
    manifest = json.loads(files["manifest.json"])
    assert ["log_amount", "sum_24h"] == manifest["inputs"]
    assert "2 partitions" in manifest["training"]["description"]
    assert b"--partitions 2 " in files["MODEL_CARD.md"]
    assert b"--inputs log_amount,sum_24h " in files["MODEL_CARD.md"]


def test_what_is_there_is_not_written_over_unasked(tmp_path: Path) -> None:
    """The refusal names the option that would."""
    (tmp_path / "notes.txt").write_text("mine")
    refusal = invoke("sample:sparkov", "--output", tmp_path)
    assert isinstance(refusal.exception, UsageError)
    assert "is not empty; add --force" in str(refusal.exception)
    assert {"MODEL_CARD.md", "manifest.json", "notes.txt"} <= {
        *trained(tmp_path, "sample:sparkov", "--force")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.parquet",), "absent.parquet: .*No such file"),
        (("sample:nilson",), "no sample nilson"),
        (("sample:sparkov", "--limit", "300"), "train on more traffic"),
        (("sample:sparkov", "--limit", "9000", "--inputs", "luck"), r"\['luck'\] are not features"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    """What is wrong and the way out; no model appears."""
    monkeypatch.chdir(tmp_path)
    error = invoke(*arguments, "--output", "m").exception
    assert isinstance(error, UsageError)
    assert re.search(message, str(error))
    assert "\n" not in str(error)
    assert [] == list(tmp_path.iterdir())


def test_a_model_on_files_of_ones_own_says_what_the_card_lacks(tmp_path: Path) -> None:
    """Nobody claims that a user's recording is simulated."""
    lines = ["tx_id,user_id,amount,timestamp"]
    lines += [
        f"{i},{i % 40},{10 + i * 7 % 90},2024-01-{1 + i // 300:02d}T{i % 24:02d}:00:00Z"
        for i in range(7_000)
    ]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    files = trained(tmp_path / "m", tmp_path / "own.csv", "--partitions", 1)
    card = files["MODEL_CARD.md"].decode()
    assert "Who trained the model has to say" in card
    assert "| 7,000 |" in card


def test_the_shipped_model_is_what_its_card_says() -> None:
    """Version, rows, inputs and command agree; the default recipe is the one on the card."""
    model = load(default_model_dir())
    card = (default_model_dir() / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {model.version}\n")
    assert DEFAULT_INPUTS == model.inputs
    assert len(SAMPLES) * TRAINING_ROWS == model.training.rows
    assert f"streamapp train {' '.join(SAMPLES)} --limit {TRAINING_ROWS} " in card
    assert f"--inputs {','.join(DEFAULT_INPUTS)} " in card


def test_the_demo_has_enough_that_the_shipped_model_has_not_seen() -> None:
    """The rest of the sample it replays is long enough."""
    rows = row_count(sample())
    assert rows is not None
    assert DEMO_ROWS_MIN <= rows - TRAINING_ROWS


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Payments with frauds of which some are known within the recording: labels and traffic."""
    path = tmp_path_factory.mktemp("synthetic") / "payments.parquet"
    made = ["generate", str(path), "--users", "200", "--days", "60", "--episodes", "20"]
    assert 0 == CliRunner().invoke(main.app, made).exit_code
    return path


def test_labels_add_a_supervised_model(synthetic: Path, tmp_path: Path) -> None:
    """It loads, is the same again, and what became of the labels is told."""
    given = (synthetic, "--labels", synthetic, "--label-delay", "3d")
    result = invoke(*given, "--output", tmp_path / "first")
    assert 0 == result.exit_code, result.output
    assert re.search(r"[\d,]+ labels: 0 of no payment read, 0 older than their pay", result.stderr)
    model = load(tmp_path / "first")
    assert model.supervised is not None
    assert 3 == model.supervised.training.windows_delay_days
    card = (tmp_path / "first" / "MODEL_CARD.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^    streamapp train (.*) --output DIR$", card, re.MULTILINE)
    assert 0 == invoke(*shlex.split(command), "--output", tmp_path / "again").exit_code
    assert model.version == load(tmp_path / "again").version
    assert "## The supervised model" in card


def test_labels_of_another_recording_teach_nothing(synthetic: Path, tmp_path: Path) -> None:
    """They are of no payment read, and the error says what is needed."""
    refusal = invoke(
        "sample:sparkov", "--limit", LIMIT, "--labels", synthetic, "--output", tmp_path
    )
    assert isinstance(refusal.exception, UsageError)
    assert "payments are known as fraud" in str(refusal.exception)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tx_id,user_id,is_fraud\n1,a,1\n", "column label_time is missing, expected tx_id"),
        ("tx_id,user_id,is_fraud,label_time\n1,a,2,2024-01-01\n", "is_fraud, row 0: is '2'"),
        ("tx_id,user_id,is_fraud,label_time\n1,a,1,\n", "label_time, row 0: is empty"),
        ("tx_id,user_id,is_fraud,label_time\n1,a,1,soon\n", "label_time, row 0: is 'soon'"),
    ],
)
def test_bad_label_files_are_told_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    """File, column and row."""
    labels = tmp_path / "labels.csv"
    labels.write_text(content)
    given = ("sample:sparkov", "--limit", LIMIT, "--labels", labels, "--output", tmp_path / "m")
    error = invoke(*given).exception
    assert isinstance(error, UsageError)
    assert f"{labels}: " in str(error)
    assert message in str(error)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--from-topics", "sample:sparkov"), "--from-topics takes no FILE"),
        (("--from-topics", "--partitions", "3"), "--from-topics takes no FILE and no --partitions"),
        (("sample:sparkov", "--labels", "l.csv", "--labels-topic"), "give one of them"),
        (("--labels-topic",), "give one FILE"),
    ],
)
def test_what_does_not_go_together_is_refused(
    given: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """Before anything is read."""
    error = invoke(*given, "--output", tmp_path / "m").exception
    assert isinstance(error, UsageError)
    assert message in str(error)


def test_labels_are_those_of_one_recording(tmp_path: Path) -> None:
    """Ids of two recordings may be the same."""
    error = invoke(*SAMPLES, "--labels", "labels.csv", "--output", tmp_path).exception
    assert isinstance(error, UsageError)
    assert "give one FILE" in str(error)
