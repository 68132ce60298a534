"""The demo's processes: each is the ordinary command a user would run, with its own log file."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamapp.broker.waiting import wait_until


class DemoError(Exception):
    """The demo can't go on; the message says which part failed and where its log is."""


class Child:
    """A `streamapp` command running beside the demo."""

    def __init__(
        self, name: str, arguments: Sequence[str], settings: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command and arguments
                [sys.executable, "-m", "streamapp", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **settings},
            )

    @property
    def is_alive(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise DemoError if it has ended with an error."""
        code = self._process.poll()
        if code:
            raise DemoError(f"{self.name} ended with exit code {code}; see {self.log}")

    def wait_ready(self, url: str, timeout_s: float) -> None:
        """Return when `url` answers 200. Raises DemoError."""

        def is_ready() -> bool:
            self.check()
            return _answers(url)

        if not wait_until(is_ready, timeout_s):
            raise DemoError(f"{self.name} was not ready within {timeout_s:.0f} s; see {self.log}")

    def finish(self, timeout_s: float) -> None:
        """Wait until it ends by itself. Raises DemoError where it fails or takes too long."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"{self.name} did not end within {timeout_s:.0f} s; see {self.log}"
            ) from None
        self.check()

    def stop(self, timeout_s: float) -> None:
        """End it with SIGTERM, by force after the timeout."""
        if self.is_alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - loopback http
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
