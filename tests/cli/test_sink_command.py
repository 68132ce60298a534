"""`streamapp sink` as a process: what it prints, its exit codes, how it stops."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streamapp.broker import LocalBroker
from streamapp.broker.network import free_port
from tests.servers.server import Server
from tests.sinks.subjects import ParquetSubject
from tests.sinks.verdicts import verdict

pytestmark = pytest.mark.integration

COMMAND = [
    sys.executable,
    "-c",
    "import sys\nfrom streamapp.cli.errors import UsageError\nfrom streamapp.cli.sink import app\n"
    "try:\n    app()\nexcept UsageError as error:\n    sys.exit(f'usage: {error}')",
]
DEADLINE_S = 60.0


class Deployment:
    """Environment of sink processes, with verdicts on their topics."""

    def __init__(self, servers: str, prefix: str, directory: Path) -> None:
        self.directory = directory
        self._servers = servers
        self._prefix = prefix
        self.env = {
            **os.environ,
            "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": servers,
            "STREAMAPP_TOPICS__PREFIX": prefix,
            "STREAMAPP_PARQUET__DIRECTORY": str(directory),
        }
        topics = [NewTopic(f"{prefix}{name}", 1, 1) for name in ("verdicts", "anomalies")]
        admin = AdminClient({"bootstrap.servers": servers})
        for made in admin.create_topics(topics).values():
            made.result(DEADLINE_S)

    def publish(self, topic: str, count: int) -> None:
        producer = Producer({"bootstrap.servers": self._servers})
        for n in range(count):
            producer.produce(f"{self._prefix}{topic}", msgspec.json.encode(verdict(n)), partition=0)
        assert producer.flush(DEADLINE_S) == 0

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture
def deployment(noida_broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> Deployment:
    """Two empty topics."""
    return Deployment(noida_broker.bootstrap_servers, topic_prefix, tmp_path / "out")


def eventually(is_true: Callable[[], bool]) -> None:
    """Wait for the condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


def test_run_until_idle_stores_and_ends(deployment: Deployment) -> None:
    """The run ends by itself with code 0, everything in files."""
    deployment.publish("verdicts", 25)
    done = deployment.run("run", "parquet", "--until-idle", "0.5")
    assert 0 == done.returncode, done.stderr
    assert 25 == len(ParquetSubject(deployment.directory).rows())


def test_alerts_go_to_standard_output(deployment: Deployment) -> None:
    """The console channel prints a line for each alert."""
    deployment.publish("anomalies", 3)
    done = deployment.run("run", "alerts", "--max-records", "3")
    assert 3 == sum(line.startswith("HIGH ") for line in done.stdout.splitlines())


def scraped(port: int) -> str:
    """The metrics of a sink process; empty while it does not serve them."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.TransportError:
        return ""


def test_sigterm_stores_what_is_held(deployment: Deployment) -> None:
    """A stop in good order: rows in memory become a file, code 0."""
    deployment.publish("verdicts", 9)
    port = free_port()
    env = {**deployment.env, "STREAMAPP_SINK__METRICS_PORT": str(port)}
    taken = 'streamapp_sink_verdicts_total{outcome="stored",sink="parquet"} 9.0'
    log = deployment.directory.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "run", "parquet"], env=env, stdout=output, stderr=output
        )
    try:
        eventually(lambda: taken in scraped(port))
        assert {} == ParquetSubject(deployment.directory).rows()
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(DEADLINE_S), log.read_text()
    finally:
        process.kill()
    assert 9 == len(ParquetSubject(deployment.directory).rows())


def test_unknown_setting_is_a_usage_error(deployment: Deployment) -> None:
    """One line names the nearest setting."""
    done = deployment.run("run", "parquet", STREAMAPP_PARQUET__DIR="x")
    assert "usage: STREAMAPP_PARQUET__DIR is not a setting" in done.stderr


def test_migrate_says_what_it_did(deployment: Deployment, postgres: Server) -> None:
    """The second time there is nothing to do."""
    env = {"STREAMAPP_POSTGRES__DSN": postgres.url, "STREAMAPP_POSTGRES__SCHEMA_NAME": "migrated"}
    outputs = [deployment.run("migrate", **env).stdout for _ in range(2)]
    applied = "applied 0001_verdict.sql\napplied 0002_reads_of_the_api.sql\n"
    assert [applied, "the schema is up to date\n"] == outputs


def test_trouble_with_the_store_is_one_line(deployment: Deployment) -> None:
    """A store that cannot be used ends the command with code 1 and the reason."""
    done = deployment.run("migrate", STREAMAPP_POSTGRES__DSN="postgresql://127.0.0.1:1/x")
    assert 1 == done.returncode
    assert done.stderr.startswith("streamapp: PostgreSQL is away: ")
