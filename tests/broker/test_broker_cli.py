"""`streamapp broker` as its user meets it, against noida-db, which starts at once."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamapp.broker import LocalBroker
from streamapp.broker.network import free_port
from streamapp.broker.waiting import wait_until
from streamapp.cli.broker import app
from streamapp.cli.errors import UsageError

pytestmark = pytest.mark.integration


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "broker"
    run("stop", tmp_path / "broker")


def run(command: str, place: Path, *options: str) -> Result:
    return CliRunner().invoke(app, [command, "--dir", str(place), *options])


def pid_of(place: Path) -> int:
    return int(json.loads((place / "state.json").read_text())["runs_as"]["pid"])


def test_status_before_any_start_is_not_running(place: Path) -> None:
    """Nothing started: said so, exit code 3."""
    result = run("status", place)
    assert (3, f"no broker was started in {place}\n") == (result.exit_code, result.output)


def test_start_status_stop(place: Path) -> None:
    """The usual way: started at the address asked for, running, stopped, not running."""
    port = free_port()
    started = run("start", place, "--port", str(port))
    assert f"noida {version('noida-db')} started at 127.0.0.1:{port}\n" == started.output
    assert (0, True) == _code_and(run("status", place), f"127.0.0.1:{port}: running\n")
    assert (0, True) == _code_and(run("stop", place), "stopped, its data is in")
    assert 3 == run("status", place).exit_code


def _code_and(result: Result, text: str) -> tuple[int, bool]:
    return result.exit_code, text in result.output


def test_broker_survives_the_command_that_started_it(place: Path) -> None:
    """The command returns, holding no pipe of its caller, and another process finds the broker."""
    command = [sys.executable, "-c", "from streamapp.cli.broker import app; app()"]
    options = ["start", "--dir", str(place), "--port", "0"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=60, check=True
    )
    address = done.stdout.split()[-1]
    assert (0, True) == _code_and(run("status", place), f"{address}: running")


def test_start_twice_says_that_it_runs(place: Path) -> None:
    """The second start changes nothing and succeeds, with the port named or left out."""
    run("start", place, "--port", "0")
    pid = pid_of(place)
    assert (0, True) == _code_and(run("start", place), "already runs at")
    assert pid == pid_of(place)


def test_crashed_broker_is_not_running_and_can_be_started(place: Path) -> None:
    """After SIGKILL from outside: exit code 3, and start brings up a new one."""
    run("start", place, "--port", "0")
    broker = LocalBroker.find(place)
    assert broker is not None
    os.kill(pid_of(place), signal.SIGKILL)
    assert wait_until(lambda: not broker.is_alive(), 10)
    assert (3, True) == _code_and(run("status", place), "not running")
    assert (0, True) == _code_and(run("start", place, "--port", "0"), "started at")


def test_mute_broker_runs_but_does_not_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process is told apart from one that is gone: exit code 1."""
    monkeypatch.setattr("streamapp.broker.local.ANSWER_TIMEOUT_S", 0.5)
    run("start", place, "--port", "0")
    pid = pid_of(place)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (1, True) == _code_and(run("status", place), "does not answer")
        error = run("start", place).exception
        assert isinstance(error, UsageError)
        assert "does not answer" in str(error)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_taken_port_is_named(place: Path) -> None:
    """A port that another program holds is a mistake the user can mend."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = run("start", place, "--port", str(port)).exception
    assert isinstance(error, UsageError)
    assert (
        f"port {port} is taken by another program: choose another with --port, 0 for a free one"
        == str(error)
    )


def test_stop_without_start_is_no_error(place: Path) -> None:
    """Stopping nothing succeeds."""
    assert (0, True) == _code_and(run("stop", place), "no broker was started in")
