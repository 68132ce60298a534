"""A worker from start to exit: topics, model, app, signals, and the exit code."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import faust
import structlog

from streamapp.engine import metrics
from streamapp.engine.app import create_app
from streamapp.engine.control_feed import follow
from streamapp.engine.engine import Engine
from streamapp.engine.guarantee import chosen_guarantee
from streamapp.engine.health import HealthServer
from streamapp.engine.members import member_name
from streamapp.engine.memory import keep_freed_memory
from streamapp.engine.outside import Outside
from streamapp.engine.partition import OutputTopics, Scorer
from streamapp.engine.partition_log import whole_profiles_max
from streamapp.engine.producer import BATCH_BYTES, PLAIN_BATCH_BYTES, Producer
from streamapp.engine.questions import Questions
from streamapp.engine.risk_versions import RiskVersions
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.severity_cutoffs import OfferedCutoffs
from streamapp.engine.warm_up import warm_up
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topic_ids import TopicIds
from streamapp.kafka.topics import ensure_topics, keep_batches, worker_topics
from streamapp.scoring.artifact import MANIFEST, ModelArtifact
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.half_space_trees import state_bytes
from streamapp.scoring.policy import Policy

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer

log = structlog.get_logger()

#: Between two looks at whether the worker should stop.
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All a worker needs, read and verified before it connects."""

    kafka: KafkaSettings
    topics: TopicSettings
    settings: WorkerSettings
    model: ModelArtifact
    tracer: "Tracer | None" = None

    @property
    def changelog(self) -> str:
        """The topic that keeps the state of this group's partitions."""
        return self.topics.changelog(self.settings.group)


def run(plan: WorkerPlan) -> int:
    """Run a worker until SIGTERM, SIGINT or failure; the process's exit code.

    Raises TopicError where the topics are not as they must be, GuaranteeError where the broker
    can't give what is wished for.
    """
    topics = plan.topics
    ensure_topics(plan.kafka, worker_topics(topics, plan.changelog), topics.replication_factor)
    settled = asyncio.run(_settled(plan))
    keep_freed_memory()
    _show_model(plan)
    warm_up(plan.model)
    return asyncio.run(_run(settled, _plain_batch_bytes(plan)))


async def _settled(plan: WorkerPlan) -> WorkerPlan:
    """The plan with the guarantee that holds for this worker's life."""
    source = plan.topics.name("transactions")
    guarantee = await chosen_guarantee(plan.settings, plan.kafka.aiokafka(), source)
    return replace(plan, settings=plan.settings.model_copy(update={"guarantee": guarantee}))


def _plain_batch_bytes(plan: WorkerPlan) -> int:
    """Of a batch of ours: what a topic compresses anew, or not at all, may grow."""
    written = [plan.topics.name(role) for role in ("verdicts", "anomalies", "dead_letters")]
    is_kept = keep_batches(plan.kafka, [*written, plan.changelog])
    return PLAIN_BATCH_BYTES if is_kept else BATCH_BYTES


def _show_model(plan: WorkerPlan) -> None:
    metrics.MODEL_INFO.labels(plan.model.version).set(1)
    manifest = (plan.settings.model_dir or default_model_dir()) / MANIFEST
    metrics.MODEL_WRITTEN.set(manifest.stat().st_mtime)


def _engine(
    plan: WorkerPlan, versions: RiskVersions, cutoffs: OfferedCutoffs, plain_batch_bytes: int
) -> Engine:
    topics = plan.topics
    names = OutputTopics(
        topics.name("verdicts"), topics.name("anomalies"), topics.name("dead_letters")
    )
    policy = Policy(
        anomaly_severity=topics.anomaly_severity,
        explain_severity=plan.settings.explain_severity,
        time_zone=plan.settings.time_zone,
    )
    profiles_max = plan.settings.checkpoint_profiles_max
    if plan.settings.guarantee == "at_least_once":
        masses = state_bytes(plan.model.half_space_trees)
        profiles_max = min(
            profiles_max, whole_profiles_max(masses, plan.settings.batch_records_max)
        )
    scorer = Scorer(plan.model, policy, names, profiles_max, plan.tracer, versions, cutoffs)
    source = topics.name("transactions")
    producer = partial(Producer, plain_batch_bytes=plain_batch_bytes)
    outside = Outside(producer=producer, topic_ids=TopicIds(plan.kafka))
    return Engine(plan.settings, scorer, source, plan.changelog, plan.kafka.aiokafka(), outside)


async def _run(plan: WorkerPlan, plain_batch_bytes: int) -> int:
    plan.settings.state_dir.mkdir(parents=True, exist_ok=True)
    versions, cutoffs = RiskVersions(plan.settings.risk_windows_dir), OfferedCutoffs()
    engine = _engine(plan, versions, cutoffs, plain_batch_bytes)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    health, port = await _serve_health(plan.settings, engine)
    own_name = member_name(plan.settings, port)
    app = create_app(engine, plan.kafka, plan.settings, plan.topics.name("transactions"), own_name)
    app.finalize()
    await app.start()
    log.info("worker_started", model=plan.model.version)
    follower = _follower(plan, versions, cutoffs)
    await _until_stopped(app, engine, stop)
    if follower is not None:
        follower.cancel()
    is_failed = await _stop(app, engine, plan.settings.shutdown_timeout_s)
    if health is not None:
        await health.stop()
    log.info("worker_stopped", failed=is_failed)
    return 1 if is_failed else 0


def _follower(
    plan: WorkerPlan, versions: RiskVersions, cutoffs: OfferedCutoffs
) -> "asyncio.Task[None] | None":
    """What has published reference data taken over, where that is exact."""
    settings = plan.settings
    has_windows = settings.risk_windows_dir is not None and plan.model.supervised is not None
    if settings.guarantee == "at_least_once":
        if has_windows:
            log.warning("risk_windows_not_followed", guarantee=settings.guarantee)
        return None
    topic, windows = plan.topics.name("control"), versions if has_windows else None
    return asyncio.create_task(follow(windows, cutoffs, plan.kafka, topic))


async def _serve_health(
    settings: WorkerSettings, engine: Engine
) -> tuple[HealthServer | None, int | None]:
    """The server and its port, none where none is wanted."""
    if settings.http_port is None:
        return None, None
    secret = settings.api_secret
    more = Questions(engine, secret.get_secret_value()).routes() if secret else []
    health = HealthServer(settings.http_host, settings.http_port, engine.why_not_ready, more)
    port = await health.start()
    log.info("health_served", host=settings.http_host, port=port, questions=bool(more))
    return health, port


async def _until_stopped(app: faust.App, engine: Engine, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if engine.failure is not None or app.should_stop:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _POLL_S)


async def _stop(app: faust.App, engine: Engine, timeout_s: float) -> bool:
    """Stop within twice the timeout; whether it was a failure that ended the worker.

    What still hangs then (clients without their broker ignore being cancelled, and asyncio would
    wait for them) ends with the process; for the state that is a crash, and as safe. Who was told
    to stop has stopped: no failure.
    """
    failure = engine.failure or (app.crash_reason if app.crashed else None)
    if failure is not None:
        log.error("worker_failed", error=str(failure), kind=type(failure).__name__)
    try:
        await asyncio.wait_for(app.stop(), 2 * timeout_s)
    except TimeoutError:
        log.warning("stop_timed_out", seconds=2 * timeout_s)
        os._exit(int(failure is not None))
    return failure is not None
