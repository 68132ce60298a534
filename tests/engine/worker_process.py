"""A worker as a user runs it: its own process, driven by signals, watched by its log and HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streamapp.broker.waiting import wait_until

#: Start, join, recovery: after kill -9 the group first waits for the dead member's session.
READY_TIMEOUT_S = 180.0
END_TIMEOUT_S = 60.0


class WorkerProcess:
    """`streamapp worker` with settings from the environment. `log` holds all it says."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.started_at = time.monotonic()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamapp", "worker"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **settings},
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def events(self) -> list[dict[str, Any]]:
        """Its log so far: the lines that are events."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Events of one name."""
        return [one for one in self.events() if one.get("event") == event]

    def await_event(self, event: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the event has been logged."""
        self._await(lambda: bool(self.logged(event)), timeout_s, f"logged no {event}")

    def await_ready(self, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Return when /readyz says so; seconds since its start."""
        self.await_event("health_served", timeout_s)
        self._await(lambda: self.get("/readyz")[0] == 200, timeout_s, "is not ready")
        return time.monotonic() - self.started_at

    def await_metric(self, name: str, value: float) -> None:
        """Return when the metric has this value."""
        self._await(
            lambda: self.metrics().get(name) == value, READY_TIMEOUT_S, f"shows no {name} {value}"
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of one HTTP answer; 0 where there is none. Metrics are kept."""
        port = self.logged("health_served")[0]["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
                text = answer.read().decode()
                if path == "/metrics":
                    self.log.with_suffix(".metrics").write_text(text, encoding="utf-8")
                return int(answer.status), text
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, OSError):
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Every sample by its name, labels added up; 0 for what there is not yet."""
        samples: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                samples[sample.name] += sample.value
        return samples

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def terminate(self, timeout_s: float = END_TIMEOUT_S) -> tuple[int, float]:
        """SIGTERM; exit code and seconds until it ended."""
        started = time.monotonic()
        self._process.terminate()
        code = self._process.wait(timeout_s)
        return code, time.monotonic() - started

    def await_end(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """End it whatever state it is in."""
        if self.is_alive:
            self.kill()

    def _await(self, condition: Callable[[], bool], timeout_s: float, failure: str) -> None:
        wait_until(lambda: condition() or not self.is_alive, timeout_s)
        assert condition(), f"worker {failure}: {self.log.read_text()[-3000:]}"
