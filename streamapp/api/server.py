"""The process: parts put together, HTTP served until told to stop."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from streamapp.api.app import create_app
from streamapp.api.audit import AuditLog
from streamapp.api.erasing import Erasing
from streamapp.api.feed import VerdictFeed
from streamapp.api.figures import Figures
from streamapp.api.guard import Guard
from streamapp.api.keys import KeyFile, KeyRecord, KeyWatch, utc_now
from streamapp.api.labels import LabelTopic
from streamapp.api.lag import LagWatch
from streamapp.api.limits import Limits
from streamapp.api.live import Live
from streamapp.api.models import Models
from streamapp.api.owners import Owners
from streamapp.api.parts import Parts
from streamapp.api.postgres_store import PostgresVerdicts
from streamapp.api.pressure import Pressure
from streamapp.api.publisher import Publisher
from streamapp.api.recent import RecentVerdicts
from streamapp.api.scoring import Scoring
from streamapp.api.settings import ApiSettings, JwtSettings
from streamapp.api.tokens import TokenVerifier, fetch_jwks
from streamapp.api.waiting import Waiting
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics
from streamapp.scoring.policy import Policy
from streamapp.sinks.postgres.settings import PostgresSettings

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer

log = structlog.get_logger()

#: Connections at once, over all callers; more are answered 503 by the server itself.
_CONNECTIONS_MAX: Final = 4_096
_KEEP_ALIVE_S: Final = 30
_BACKLOG: Final = 1_024
#: A year: audits ask for that long.
_AUDIT_RETENTION_MS: Final = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """All the API needs. `group`, `secret`: the workers'. `own_keys` are this process's alone."""

    kafka: KafkaSettings
    topics: TopicSettings
    settings: ApiSettings
    postgres: PostgresSettings
    model_dir: Path
    group: str
    secret: SecretStr | None = None
    own_keys: tuple[KeyRecord, ...] = ()
    tracer: "Tracer | None" = None


def serve(plan: ApiPlan, listener: socket.socket) -> None:
    """Serve on the listener until SIGTERM or Ctrl-C.

    Raises TopicError where the broker is not there, KeyFileError where keys can't be read,
    ArtifactError where the model can't.
    """
    os.nice(plan.settings.niceness)  # before threads are made, which keep what they begin with
    ensure_topics(plan.kafka, [audit_topic(plan.topics)], plan.topics.replication_factor)
    uvicorn_loop = uvicorn.Config("", loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
        runner.run(_serve(plan, listener))


def audit_topic(topics: TopicSettings) -> TopicPlan:
    """One partition, so that entries keep their order."""
    config = {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(_AUDIT_RETENTION_MS),
    }
    return TopicPlan(topics.name("audit"), 1, config)


async def _serve(plan: ApiPlan, listener: socket.socket) -> None:
    async with AsyncExitStack() as stack:
        parts = await _parts(plan, stack)
        server = _Server(_config(create_app(parts), plan.settings))
        parts.pressure.under_way = lambda: len(server.server_state.tasks)

        def stop() -> None:
            parts.live.stopping.set()  # streams would keep the server from ending
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        log.info("api_served", port=listener.getsockname()[1])
        await server.serve(sockets=[listener])
    log.info("api_stopped")


async def _parts(plan: ApiPlan, stack: AsyncExitStack) -> Parts:
    """The parts, each ended with the stack."""
    settings, topics, loop = plan.settings, plan.topics, asyncio.get_running_loop()
    key_file = KeyFile(settings.keys_file)
    keys = KeyWatch(key_file, time.monotonic, plan.own_keys)
    guard = Guard(keys, _tokens(settings.jwt), _limits(settings), utc_now)
    publisher = Publisher(plan.kafka, loop)
    stack.push_async_callback(asyncio.to_thread, publisher.close)
    waiting = Waiting(settings.waiting_max)
    watch = LagWatch(plan.kafka, topics.name("transactions"), plan.group)
    _started(watch, stack)
    live = await _live(plan, waiting, watch, stack)
    feed = VerdictFeed(plan.kafka, topics, settings.recent_verdicts_max, live.take, loop)
    _started(feed, stack)
    return Parts(
        settings=settings,
        guard=guard,
        key_file=key_file,
        audit=AuditLog(publisher.publish, topics.name("audit"), utc_now),
        scoring=Scoring(
            publisher.publish,
            live.known,
            waiting,
            topics.name("transactions"),
            settings.score_timeout_s,
        ),
        labels=LabelTopic(publisher.publish, topics.name("labels")),
        live=live,
        owners=Owners(
            watch,
            await stack.enter_async_context(httpx.AsyncClient()),
            plan.secret.get_secret_value() if plan.secret else None,
            topics.partitions,
        ),
        erasing=Erasing(publisher.publish, plan.kafka, topics, plan.group, utc_now),
        pressure=_watched(Pressure(settings.late_max_s, time.monotonic), stack),
        policy=Policy(anomaly_severity=topics.anomaly_severity),
        why_not_ready=lambda: guard.failure or feed.why_not_live,
        now=utc_now,
        tracer=plan.tracer,
    )


async def _live(plan: ApiPlan, waiting: Waiting, watch: LagWatch, stack: AsyncExitStack) -> Live:
    older = None
    if plan.settings.store == "postgres":
        older = await stack.enter_async_context(PostgresVerdicts(plan.postgres))
    recent = RecentVerdicts(plan.settings.recent_verdicts_max)
    live = Live(recent, older, Figures(time.time), waiting, Models([plan.model_dir]))
    live.lag = lambda: watch.lag
    return live


def _started(thread: VerdictFeed | LagWatch, stack: AsyncExitStack) -> None:
    thread.start()
    stack.push_async_callback(asyncio.to_thread, thread.close)


def _watched(pressure: Pressure, stack: AsyncExitStack) -> Pressure:
    stack.callback(asyncio.create_task(pressure.watch()).cancel)
    return pressure


def _limits(settings: ApiSettings) -> Limits:
    return Limits(
        settings.rate_per_s, settings.rate_burst, settings.concurrency_max, time.monotonic
    )


def _tokens(settings: JwtSettings) -> TokenVerifier | None:
    if settings.jwks_url is None:
        return None
    return TokenVerifier(settings, partial(fetch_jwks, settings.jwks_url), time.monotonic)


def _config(app: FastAPI, settings: ApiSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # paths hold ids
        server_header=False,
        proxy_headers=False,  # nothing asks where a request comes from
        lifespan="off",
        limit_concurrency=_CONNECTIONS_MAX,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
    )


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would end the process by the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
