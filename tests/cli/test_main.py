"""The command line as a whole: all commands are there, and each loads what it needs only."""

import json
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from streamapp.cli import main
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
    told = dict(
        re.findall(r"^│ (\w+) +(\S.*?) +│$", shown.output.split("Commands")[1], re.MULTILINE)
    )
    modules = Path(main.__file__).parent.glob("*.py")
    commands = {one.stem for one in modules if "app = typer.Typer" in one.read_text("utf-8")}
    assert commands - {"main"} <= told.keys()
    assert {"worker", "compile", "demo", "api", "evaluate"} <= told.keys()
    assert all(told.values())


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
