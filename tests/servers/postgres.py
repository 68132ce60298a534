"""A real PostgreSQL: by Docker where it answers, else the programs of this machine."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from tests.servers.docker import docker_answers
from tests.servers.server import ContainerServer, LocalServer, Server

IMAGE = "postgres:17-alpine"
DSN = "postgresql://streamapp@127.0.0.1:{port}/postgres"
INITDB_TIMEOUT_S = 60
MISSING = "PostgreSQL is not installed: run deploy/install-test-servers.sh"


def start_postgres() -> Server:
    """A PostgreSQL that answers; `url` is its DSN, its user owns it. Raises if there is none."""
    if docker_answers():
        trust = {"POSTGRES_USER": "streamapp", "POSTGRES_DB": "postgres"}
        trust["POSTGRES_HOST_AUTH_METHOD"] = "trust"
        return ContainerServer(IMAGE, 5432, DSN, answers, **trust).start()
    return LocalPostgres(find_binaries()).start()


def answers(dsn: str) -> bool:
    """Whether a query gets its answer."""
    try:
        with psycopg.connect(dsn, connect_timeout=2) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def find_binaries() -> Path:
    """The directory of initdb and postgres; the newest where Debian has several."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError(MISSING)
    return max(found, key=lambda path: int(path.parts[-3])).parent


class LocalPostgres(LocalServer):
    """PostgreSQL as an ordinary user, for it refuses to run as root."""

    def __init__(self, binaries: Path) -> None:
        super().__init__(DSN, answers)
        self._binaries = binaries
        self._data = self.directory / "data"
        self._as_user = self._hand_over() if os.geteuid() == 0 else []
        self._create_cluster()

    def argv(self) -> list[str]:
        """postgres in the foreground; no fsync, as no test survives a crash of the machine."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._data,
            "fsync": "off",
        }
        argv = [*self._as_user, str(self._binaries / "postgres"), "-D", str(self._data)]
        return argv + [f"--{name}={value}" for name, value in options.items()]

    def stop(self) -> None:
        """Fast shutdown: connections are closed, not waited for."""
        self._end(lambda process: process.send(signal.SIGINT))

    def kill(self) -> None:
        """Immediate shutdown, PostgreSQL's own crash: recovers from its log at the next start.

        SIGKILL would leave its children behind for a while, and they hold the data directory.
        """
        self._end(lambda process: process.send(signal.SIGQUIT))

    def _hand_over(self) -> list[str]:
        """Give the directory to a user who may run it; how a command begins that runs as them."""
        users = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = users.get("postgres") or users["nobody"]
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise RuntimeError("setpriv is not installed: install util-linux, or don't run as root")
        return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def _create_cluster(self) -> None:
        argv = [*self._as_user, str(self._binaries / "initdb"), "--pgdata", str(self._data)]
        argv += ["--username=streamapp", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            argv, check=True, capture_output=True, timeout=INITDB_TIMEOUT_S, cwd=self.directory
        )
