"""`streamapp state` without a broker: what it refuses, and what it writes of local state."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from streamapp.cli.errors import UsageError
from streamapp.cli.main import app
from streamapp.engine.store import Origin, StateStore, user_key
from streamapp.features.profile import empty_profiles, seal

Run = Callable[..., tuple[int, str]]


def profile(count: int) -> bytes:
    """A stored profile with this many transactions of 10.0, the last one at second 5."""
    record = empty_profiles(1)
    record["event_count"] = count
    record["amount_mean"] = 10.0
    record["amount_m2"] = 4.0 * count
    record["last_time_ms"] = 5_000
    return seal(record[0])


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Local state of partitions 0 and 3."""
    for partition, users in ((0, ["ann", "bob"]), (3, ["cem"])):
        store = StateStore(tmp_path / "state" / f"p{partition:05d}")
        store.follow(Origin("streamapp.state"))
        items = [(user_key(user), profile(count)) for count, user in enumerate(users, start=1)]
        store.write(items, 7)
        store.close()
    return tmp_path / "state"


@pytest.fixture
def run(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `streamapp state`; a mistake of the user's is code 2, as in `streamapp` itself."""
    monkeypatch.setenv("STREAMAPP_WORKER__STATE_DIR", str(state_dir))

    def invoke(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["state", *words])
        if isinstance(result.exception, UsageError):
            return 2, str(result.exception)
        return result.exit_code, result.output

    return invoke


def test_sound_state_is_verified_without_a_broker(run: Run) -> None:
    """Each partition with its profiles and offset; code 0."""
    code, told = run("verify", "--offline", "--json")
    found = json.loads(told)
    assert 0 == code
    assert [(0, 2, 7, []), (3, 1, 7, [])] == [
        (one["partition"], one["profiles"], one["changelog_offset"], one["problems"])
        for one in found
    ]


def test_every_kind_of_damage_is_code_1(run: Run, state_dir: Path) -> None:
    """A value, and a file; nothing is moved by looking."""
    store = StateStore(state_dir / "p00000")
    store.write([(user_key("bob"), profile(2)[:-1] + b"\1")], 8)
    store.close()
    (state_dir / "p00003" / "CURRENT").write_bytes(b"")
    code, told = run("verify", "--offline")
    assert 1 == code
    assert "partition 0: 1 of 2 profiles can't be used" in told
    assert "p00003 is damaged" in told
    assert {"p00000", "p00003"} == {place.name for place in state_dir.iterdir()}


@pytest.mark.parametrize("command", [["verify", "--offline"], ["export", "out.jsonl"]])
def test_state_in_use_is_refused(run: Run, state_dir: Path, command: list[str]) -> None:
    """By whatever lives on the directory."""
    store = StateStore(state_dir / "p00000")
    code, told = run(*command)
    store.close()
    Path("out.jsonl").unlink(missing_ok=True)
    assert (2, True) == (code, "is in use by another worker" in told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["verify", "--offline", "--partition", "1"], "holds not partition 1: set STREAMAPP_WORK"),
        (["verify", "--offline", "--deep"], "leave out --offline"),
        (["export", "profiles.csv"], "must end in .jsonl or .parquet"),
        (["verify"], "127.0.0.1:1"),
        (["rebuild", "--partition", "9"], "the source has 4 partitions"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    """That says how to mend it."""
    monkeypatch.setenv("STREAMAPP_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, said = run(*words)
    assert (2, 1) == (code, len(said.splitlines()))
    assert told in said


def test_no_state_is_told_with_the_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty answer would look like sound state."""
    monkeypatch.setenv("STREAMAPP_WORKER__STATE_DIR", "nowhere")
    code, said = run("verify", "--offline")
    assert (2, True) == (code, "holds no partition: set STREAMAPP_WORKER__STATE_DIR" in said)


def test_profiles_are_exported_as_json_lines(run: Run, tmp_path: Path) -> None:
    """One row for each user; the file is its owner's only."""
    target = tmp_path / "profiles.jsonl"
    assert (0, f"3 profiles written to {target}\n") == run("export", str(target))
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert ["ann", "bob", "cem"] == [row["user_id"] for row in rows]
    assert (2, 10.0, 2.0) == tuple(
        rows[1][name] for name in ("transactions", "amount_mean", "amount_deviation")
    )
    assert "1970-01-01T00:00:05.000Z" == rows[1]["last_transaction"]
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)
    assert 2 == run("export", str(target))[0], "what is there is not overwritten"


def test_profiles_are_exported_as_parquet(run: Run, tmp_path: Path) -> None:
    """The same rows; on request with every stored field."""
    target = tmp_path / "profiles.parquet"
    assert 0 == run("export", str(target), "--all-fields", "--partition", "0")[0]
    table = pq.read_table(target)
    assert ["ann", "bob"] == table["user_id"].to_pylist()
    assert [1, 2] == table["stored_event_count"].to_pylist()


def test_help_says_what_is_exported(run: Run) -> None:
    """Personal data, before anybody writes it to a file."""
    assert "personal data" in run("export", "--help")[1]
