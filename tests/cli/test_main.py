"""The command line as a whole: all commands are there, and each loads what it needs only."""

import json
import subprocess
import sys

from typer.testing import CliRunner

from streamapp.cli.main import app

_LOADED = """
import json, sys
from typer.testing import CliRunner
from streamapp.cli.main import app
assert CliRunner().invoke(app, ["worker", "--help"]).exit_code == 0
print(json.dumps(sorted(sys.modules)))
"""


def test_help_lists_every_command_with_what_it_does() -> None:
    """Groups, too, though none of them is imported before."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert 0 == shown.exit_code
    for text in ("worker", "Score transactions from Kafka", "sink", "Carries verdicts to alerts"):
        assert text in shown.output


def test_a_mistyped_command_is_told_what_is_near() -> None:
    """Though the command was never imported."""
    told = CliRunner().invoke(app, ["wroker"])
    assert 2 == told.exit_code
    assert "'worker'" in told.output


def test_a_worker_loads_no_other_commands_libraries() -> None:
    """They cost a second of each start, and 80 MiB for as long as it runs."""
    found = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(found.stdout))
    assert "streamapp.cli.worker" in loaded
    assert not loaded & {"streamapp.cli.demo", "pandas", "pyarrow", "sklearn", "river"}
