"""Stores that are slow, silent or away: scoring goes on, each verdict gets there once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streamapp.broker.waiting import wait_until
from streamapp.domain.verdict import decode_verdict
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment
from tests.kafka.records import read_all
from tests.servers.server import Server
from tests.sinks.receiver import Receiver
from tests.sinks.subjects import KEY, PostgresSubject, RedisSubject, Subject, WebhookSubject
from tests.stress.exact import assert_exact
from tests.stress.outcome import Outcome
from tests.stress.proxy import Mood, Proxy

_TIMEOUT_S: Final = 120.0
_RATE_PER_S: Final = 200.0

#: Short waits, so that a test sees a retry; the defaults are minutes.
_SETTINGS: Final = {
    "STREAMAPP_SINK__RETRY_MAX_S": "1",
    "STREAMAPP_SINK__SESSION_TIMEOUT_S": "6",
    "STREAMAPP_POSTGRES__CONNECT_TIMEOUT_S": "2",
    "STREAMAPP_POSTGRES__STATEMENT_TIMEOUT_S": "2",
    "STREAMAPP_REDIS__TIMEOUT_S": "2",
}


@dataclass(frozen=True, slots=True)
class _Stored:
    """A sink's process, what stands before its store, and the store."""

    name: str
    proxy: Proxy
    subject: Subject
    process: "subprocess.Popen[bytes]"
    log: Path

    def told(self, event: str) -> int:
        """How often its log says this."""
        return self.log.read_text().count(f'"{event}"')


def slow_sinks(
    deployment: Deployment,
    model: ModelArtifact,
    postgres: Server,
    redis: Server,
    moods: tuple[Mood, ...],
    seconds: float,
) -> Outcome:
    """Each store has each mood for a while under load; in the end each holds every verdict once."""
    deployment.make_topics()
    worker = deployment.worker()
    worker.await_ready()
    with _sinks(deployment, postgres, redis) as sinks:
        with deployment.load(per_s=_RATE_PER_S) as sent:
            for started in (
                lambda one: one.told("partitions_assigned"),
                lambda one: one.subject.rows(),
            ):
                assert wait_until(lambda s=started: all(map(s, sinks)), _TIMEOUT_S)  # type: ignore[misc]
            for mood in moods:
                for sink in sinks:
                    sink.proxy.be(mood)
                _pass(sinks, mood, seconds)
                lag = worker.metrics()["streamapp_lag_records"]
                for sink in sinks:
                    sink.proxy.be("well")
        [rows] = sent
        deployment.found(rows)
        _assert_stored(deployment, sinks)
        retries = {f"{sink.name} retries": sink.told("sink_away") for sink in sinks}
        assert all(retries.values()), f"nothing was ever in the way: {retries}"
        codes = {sink.name: _end(sink.process) for sink in sinks}
    assert {0} == set(codes.values()), codes
    assert 0 == worker.terminate()[0], worker.log.read_text()[-2000:]
    assert_exact(deployment, model)
    return Outcome(len(moods) * len(sinks), {"records": rows, "worker's lag": lag, **retries})


def _pass(sinks: list[_Stored], mood: Mood, seconds: float) -> None:
    """Let the mood last, until each sink that can notice it has."""
    before = [sink.told("sink_away") for sink in sinks]
    wait_until(lambda: any(sink.process.poll() is not None for sink in sinks), seconds)
    if mood != "slow":
        for sink, known in zip(sinks, before, strict=True):
            noticed = wait_until(lambda s=sink, k=known: s.told("sink_away") > k, 20)  # type: ignore[misc]
            assert noticed, f"{sink.name} hangs while its store is {mood}"
    assert all(sink.process.poll() is None for sink in sinks), "a sink has ended"


@contextmanager
def _sinks(deployment: Deployment, postgres: Server, redis: Server) -> Iterator[list[_Stored]]:
    place = deployment.directory.name.replace("-", "_")[-30:]
    receiver = Receiver()
    with ExitStack() as stack:
        stack.callback(receiver.stop)
        before = {
            "postgres": (postgres.url, PostgresSubject(postgres, place)),
            "redis": (redis.url, RedisSubject(redis, place)),
            "alerts": (receiver.url, WebhookSubject(receiver)),
        }
        started = []
        for name, (url, subject) in before.items():
            port = urlsplit(url).port
            assert port is not None
            proxy = stack.enter_context(Proxy(port))
            process, log = _start(deployment, name, proxy.instead_of(url), place)
            stack.callback(_kill, process)
            started.append(_Stored(name, proxy, subject, process, log))
        yield started


def _start(
    deployment: Deployment, name: str, url: str, place: str
) -> "tuple[subprocess.Popen[bytes], Path]":
    own = {
        "postgres": {
            "STREAMAPP_POSTGRES__DSN": url,
            "STREAMAPP_POSTGRES__SCHEMA_NAME": place,
        },
        "redis": {
            "STREAMAPP_REDIS__URL": url,
            "STREAMAPP_REDIS__KEY_PREFIX": f"{place}:user:",
        },
        "alerts": {
            "STREAMAPP_ALERTS__CHANNEL": "webhook",
            "STREAMAPP_ALERTS__COOLDOWN_S": "0",
            "STREAMAPP_ALERTS__WEBHOOK__URL": url,
            "STREAMAPP_ALERTS__WEBHOOK__SECRET": KEY,
            "STREAMAPP_ALERTS__WEBHOOK__ALLOW_PRIVATE": "true",
            "STREAMAPP_ALERTS__WEBHOOK__TIMEOUT_S": "2",
        },
    }[name]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
    broker = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": deployment.kafka.bootstrap_servers,
        "STREAMAPP_TOPICS__PREFIX": deployment.topics.prefix,
    }
    log = deployment.directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamapp", "sink", "run", name],
            env={**inherited, **_SETTINGS, **broker, **own},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return process, log


def _assert_stored(deployment: Deployment, sinks: list[_Stored]) -> None:
    """PostgreSQL has every verdict, Redis each user's last, the webhook every anomaly."""
    verdicts = {}
    last = {}
    for record in read_all(deployment.kafka, deployment.topics.name("verdicts")):
        verdict = decode_verdict(record.value() or b"")
        verdicts[verdict.verdict_id] = (verdict.user_id, verdict.tx_id)
        last[verdict.user_id] = verdict.verdict_id
    anomalies = {
        decode_verdict(record.value() or b"").verdict_id
        for record in read_all(deployment.kafka, deployment.topics.name("anomalies"))
    }
    expected = {
        "postgres": verdicts,
        "redis": {verdict_id: verdicts[verdict_id] for verdict_id in last.values()},
        "alerts": {verdict_id: verdicts[verdict_id] for verdict_id in anomalies},
    }
    for sink in sinks:
        wanted = expected[sink.name]
        same = wait_until(lambda s=sink, w=wanted: s.subject.rows() == w, _TIMEOUT_S)  # type: ignore[misc]
        assert same, f"{sink.name} holds something else: {sink.log.read_text()[-1500:]}"


def _end(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(_TIMEOUT_S)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait(_TIMEOUT_S)
