"""The process: parts put together, HTTP served until told to stop."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from streamapp.api.app import create_app
from streamapp.api.audit import AuditLog
from streamapp.api.guard import Guard
from streamapp.api.keys import KeyFile, KeyRecord, KeyWatch, utc_now
from streamapp.api.limits import Limits
from streamapp.api.parts import Parts
from streamapp.api.publisher import Publisher
from streamapp.api.settings import ApiSettings, JwtSettings
from streamapp.api.tokens import TokenVerifier, fetch_jwks
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import TopicPlan, ensure_topics

log = structlog.get_logger()

#: Connections at once, over all callers; more are answered 503 by the server itself.
_CONNECTIONS_MAX: Final = 4_096
_KEEP_ALIVE_S: Final = 30
_BACKLOG: Final = 1_024
#: A year: audits ask for that long.
_AUDIT_RETENTION_MS: Final = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """All the API needs. `own_keys` are of this process alone and in no file."""

    kafka: KafkaSettings
    topics: TopicSettings
    settings: ApiSettings
    own_keys: tuple[KeyRecord, ...] = ()


def serve(plan: ApiPlan, listener: socket.socket) -> None:
    """Serve on the listener until SIGTERM or Ctrl-C.

    Raises TopicError where the broker is not there, KeyFileError where keys can't be read.
    """
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
    loop = asyncio.get_running_loop()
    key_file = KeyFile(plan.settings.keys_file)
    keys = KeyWatch(key_file, time.monotonic, plan.own_keys)
    publisher = Publisher(plan.kafka, loop)
    try:
        parts = _parts(plan, key_file, keys, publisher)
        server = _Server(_config(create_app(parts), plan.settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(setattr, server, "should_exit", True))
        log.info("api_served", port=listener.getsockname()[1])
        await server.serve(sockets=[listener])
    finally:
        await asyncio.to_thread(publisher.close)
    log.info("api_stopped")


def _parts(plan: ApiPlan, key_file: KeyFile, keys: KeyWatch, publisher: Publisher) -> Parts:
    settings = plan.settings
    limits = Limits(
        settings.rate_per_s, settings.rate_burst, settings.concurrency_max, time.monotonic
    )
    guard = Guard(keys, _tokens(settings.jwt), limits, utc_now)
    return Parts(
        settings=settings,
        guard=guard,
        key_file=key_file,
        audit=AuditLog(publisher.publish, plan.topics.name("audit"), utc_now),
        why_not_ready=lambda: guard.failure,
        now=utc_now,
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
