"""Processes of a benchmark: started with settings of their own, ended for certain."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

STOP_TIMEOUT_S = 30.0


def start(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command that inherits no setting of streamapp; both its outputs go to `log`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
    with log.open("wb") as file:
        return subprocess.Popen(
            command, env=inherited | dict(environment), stdout=file, stderr=subprocess.STDOUT
        )


def module(name: str, plan: msgspec.Struct) -> list[str]:
    """The command that runs a module of the benchmarks on a plan."""
    return [sys.executable, "-m", f"benchmarks.{name}", msgspec.json.encode(plan).decode()]


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without taking its CPU account away as `poll` does."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to what is still there at the deadline."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


def unwind_on_sigterm() -> None:
    """Have SIGTERM end what this process has started; asking twice doesn't break that off."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
