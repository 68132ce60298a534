"""The API as its own process, driven over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from streamapp.broker.waiting import wait_until

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


class ApiProcess:
    """`streamapp api` (or another command that serves it) on a free port. `log` is all it says."""

    def __init__(
        self, settings: Mapping[str, str], log: Path, command: tuple[str, ...] = ("api",)
    ) -> None:
        self.log = log
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        self._environment = {**inherited, "STREAMAPP_API__PORT": "0", **settings}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamapp", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def __enter__(self) -> Self:
        served = wait_until(lambda: bool(self._port()) or not self._is_alive(), START_TIMEOUT_S)
        assert served, f"does not serve: {self.log.read_text()[-3000:]}"
        assert self._is_alive(), f"has ended: {self.log.read_text()[-3000:]}"
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_alive():
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    @property
    def niceness(self) -> int:
        """How far it steps back for others."""
        return os.getpriority(os.PRIO_PROCESS, self._process.pid)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port()}"

    def key(self, *scopes: str) -> str:
        """A key of its file, made by the command."""
        words = [word for scope in scopes for word in ("--scope", scope)]
        done = subprocess.run(
            [sys.executable, "-m", "streamapp", "keys", "create", "test", *words],
            env=self._environment,
            capture_output=True,
            check=True,
            timeout=START_TIMEOUT_S,
        )
        return done.stdout.decode().strip()

    @staticmethod
    def bearer(key: str) -> dict[str, str]:
        """The header that carries a key; none without one."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def get(self, path: str, key: str) -> httpx.Response:
        """One answer. Metrics are kept."""
        answer = httpx.get(f"{self.url}{path}", headers=self.bearer(key), timeout=30)
        if path == "/metrics":
            self.log.with_suffix(".metrics").write_text(answer.text, encoding="utf-8")
        return answer

    def await_answer(self, path: str, status: int, key: str = "") -> None:
        """Return when this path answers so."""
        assert wait_until(lambda: self.get(path, key).status_code == status, START_TIMEOUT_S)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        return self._process.wait(STOP_TIMEOUT_S)

    def _is_alive(self) -> bool:
        return self._process.poll() is None

    def _port(self) -> int | None:
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and '"api_served"' in line:
                return int(json.loads(line)["port"])
        return None
