"""A server under test: the same rooms whether it is a local program or a container."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

from streamapp.broker.network import free_port
from streamapp.broker.process import Process
from streamapp.broker.waiting import wait_until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Server(Protocol):
    """What tests of outages need."""

    @property
    def url(self) -> str:
        """Where clients connect to; the same after a restart."""

    def stop(self) -> None:
        """End it orderly; its data stays for `restart`."""

    def kill(self) -> None:
        """End it as a crash would; its data stays for `restart`."""

    def restart(self) -> None:
        """Bring it back on the same port and data, ending it first if it runs."""

    def close(self) -> None:
        """End it and delete its data."""


class LocalServer:
    """A server program of this machine, its data in a directory of its own under /tmp."""

    def __init__(self, url: str, answers: Callable[[str], bool]) -> None:
        self.port = free_port()
        self.url = url.format(port=self.port)
        self.directory = Path(tempfile.mkdtemp(prefix="streamapp-test-"))
        self._answers = answers
        self._process: Process | None = None

    def argv(self) -> list[str]:
        """The command that runs it in the foreground."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it answers."""
        log = self.directory / "log"
        self._process = process = Process.spawn(self.argv(), log)
        wait_until(lambda: self._answers(self.url) or not process.is_alive(), START_TIMEOUT_S)
        if not self._answers(self.url):
            process.kill()
            raise RuntimeError(f"{self.argv()[0]} does not answer: {log.read_text()[-500:]}")
        return self

    def stop(self) -> None:
        """End it orderly (SIGTERM unless the server has a better word)."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(lambda process: process.kill())

    def restart(self) -> None:
        """Bring it back."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and delete its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, ask: Callable[[Process], None]) -> None:
        process = self._process
        if process is None:
            return
        ask(process)
        if not wait_until(lambda: not process.is_alive(), STOP_TIMEOUT_S):
            process.kill()
            raise RuntimeError(f"pid {process.pid} had to be killed {STOP_TIMEOUT_S:.0f} s later")


class ContainerServer:
    """The same as a container, its port fixed so that it is the same after a restart."""

    def __init__(
        self, image: str, port: int, url: str, answers: Callable[[str], bool], **env: str
    ) -> None:
        from testcontainers.core.container import DockerContainer

        host_port = free_port()
        self.url = url.format(port=host_port)
        self._answers = answers
        self._container = DockerContainer(image).with_bind_ports(port, host_port)
        for name, value in env.items():
            self._container.with_env(name, value)

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self._container.start()
        self._await_answer()
        return self

    def stop(self) -> None:
        """End it orderly."""
        self._wrapped().stop(timeout=int(STOP_TIMEOUT_S))

    def kill(self) -> None:
        """End it as a crash would."""
        self._wrapped().kill()

    def restart(self) -> None:
        """Bring it back."""
        self._wrapped().restart(timeout=int(STOP_TIMEOUT_S))
        self._await_answer()

    def close(self) -> None:
        """Delete it."""
        self._container.stop()

    def _wrapped(self) -> Any:
        return self._container.get_wrapped_container()

    def _await_answer(self) -> None:
        if not wait_until(lambda: self._answers(self.url), START_TIMEOUT_S):
            raise RuntimeError(f"the container for {self.url} does not answer")
