"""The Faust application: one agent over the source topic, signals that move the engine."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import faust
import structlog
from faust.tables import TableManager
from faust.types import TP

from streamapp.engine.engine import Engine
from streamapp.engine.feeds import Feeds
from streamapp.engine.gathering import gather_ms_max
from streamapp.engine.members import CLIENT
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.transport import BatchingOptions, BatchSchema, Consumer
from streamapp.kafka.settings import KafkaSettings

log = structlog.get_logger()


class ScoringApp(faust.App):
    """A Faust app that carries what its transport needs to know."""

    batching: BatchingOptions


class TableRegistry(TableManager):
    """Faust's table manager without its second of waiting at start: there are no Faust tables."""

    async def on_start(self) -> None:
        """Go on at once."""
        await self._update_channels()
        await self.recovery.start()


#: Batches waiting for the agent, of all partitions: enough to keep it busy, little to throw away
#: at a rebalance.
BATCHES_WAITING_MAX = 16

#: A member learns of a rebalance by its heartbeat, so a long session must not make it rare.
HEARTBEAT_S_MAX = 2.0

#: The group's offsets only show progress (state knows the position), so twice a second is enough.
COMMIT_INTERVAL_S = 0.5

#: Between two looks at end offsets, for lag and the watch over stalled partitions.
WATCH_INTERVAL_S = 1.0

#: Between two looks at whether the topics are still the same ones.
TOPICS_INTERVAL_S = 5.0
#: Longer than a transaction is open, far.
OUTPUTS_INTERVAL_S = 15.0


def create_app(
    engine: Engine,
    kafka: KafkaSettings,
    settings: WorkerSettings,
    source_topic: str,
    member_name: str = CLIENT,
) -> ScoringApp:
    """Wire an app around the engine; starting it joins the group under this name."""
    app = ScoringApp(
        settings.group,
        broker=[f"recordbatch://{address}" for address in kafka.bootstrap_servers.split(",")],
        datadir=settings.state_dir,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_buffer_maxsize=BATCHES_WAITING_MAX,
        stream_wait_empty=True,
        # All that was fetched: partitions come in turns, and one that waits holds up no other.
        broker_max_poll_records=None,
        broker_session_timeout=settings.session_timeout_s,
        # Some brokers wait this long for a member that died; it must cover the last checkpoint.
        broker_rebalance_timeout=max(settings.session_timeout_s, settings.shutdown_timeout_s),
        broker_heartbeat_interval=min(settings.session_timeout_s / 3, HEARTBEAT_S_MAX),
        broker_request_timeout=max(40.0, settings.session_timeout_s + 5),
        broker_commit_interval=3600.0,
        # A position is never moved on over records that are gone: `Consumer` has it looked at.
        consumer_auto_offset_reset="none",
        consumer_group_instance_id=settings.instance_id,
        broker_client_id=member_name,
        TableManager=TableRegistry,
        stream_recovery_delay=0.0,
        **faust_auth(kafka),
    )
    longest_ms = gather_ms_max(settings.guarantee)
    app.batching = BatchingOptions(source_topic, settings.batch_records_max, engine, longest_ms)
    source = app.topic(source_topic, schema=BatchSchema(), internal=False)
    feeds = _feeds(app, engine, settings.batch_records_max)
    _attach_agent(app, engine, source, feeds)
    _attach_signals(app, engine, source_topic, feeds)
    _attach_timers(app, engine, settings, source_topic)
    return app


def faust_auth(kafka: KafkaSettings) -> dict[str, Any]:
    """Faust's settings for encryption and credentials."""
    context = kafka.ssl_context()
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    if kafka.security_protocol == "SSL":
        return {"broker_credentials": faust.SSLCredentials(context)}
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""
    credentials = faust.SASLCredentials(
        username=kafka.sasl_username,
        password=password,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )
    return {"broker_credentials": credentials}


def _feeds(app: ScoringApp, engine: Engine, records_max: int) -> Feeds:
    async def score(partition: int, records: Sequence[Any], generation: int) -> None:
        await engine.score(partition, records, generation)
        if engine.is_stopped(partition):
            cast(Consumer, app.consumer).pause_stopped()

    rested = partial(engine.tick, at_once=True)
    return Feeds(score, records_max, partial(_note_failure, engine), rested)


def _note_failure(engine: Engine, partition: int, error: Exception) -> None:
    log.error("scoring_failed", partition=partition, exc_info=error)
    engine.failure = engine.failure or error


def _attach_agent(app: ScoringApp, engine: Engine, source: Any, feeds: Feeds) -> None:
    @app.agent(source, name="score")
    async def score(stream: Any) -> None:
        async for event in stream.events():
            message, fetched = event.message, event.value
            try:
                if cast(Consumer, app.consumer).is_next(message.tp, fetched):
                    await feeds.put(message.partition, fetched.records, message.generation_id)
            except Exception as error:  # restarting the agent alone would lose the batch
                _note_failure(engine, message.partition, error)
                return


def _attach_signals(app: ScoringApp, engine: Engine, source_topic: str, feeds: Feeds) -> None:
    @app.on_rebalance_complete.connect
    async def take_over(*_: Any, **_options: Any) -> None:
        feeds.clear()
        assigned = [tp.partition for tp in app.consumer.assignment() if tp.topic == source_topic]
        try:
            await engine.assign(assigned, app.consumer_generation_id)
        except Exception as error:
            engine.failure = engine.failure or error
            raise

    @app.on_partitions_revoked.connect
    async def give_back(*_: Any, **_options: Any) -> None:
        feeds.clear()
        await _commit(app, await engine.release())

    @app.on_before_shutdown.connect
    async def leave(*_: Any, **_options: Any) -> None:
        await _commit(app, await engine.release())
        await engine.stop()


async def _commit(app: ScoringApp, positions: dict[int, int]) -> bool:
    return await cast(Consumer, app.consumer).commit_positions(positions)


def _attach_timers(
    app: ScoringApp, engine: Engine, settings: WorkerSettings, source_topic: str
) -> None:
    async def checkpoint() -> None:
        engine.tick()

    async def commit() -> None:
        moved = engine.committable()
        if moved and not await _commit(app, moved):
            engine.tell_again(moved)

    async def watch() -> None:
        consumer = cast(Consumer, app.consumer)
        engine.watch({p: consumer.end_of_records(TP(source_topic, p)) for p in engine.partitions})

    async def verify_topics() -> None:
        if engine.partitions:
            await engine.verify_topics()

    async def verify_outputs() -> None:
        if engine.partitions:
            await engine.verify_outputs()

    app.timer(TOPICS_INTERVAL_S, name="topics")(verify_topics)
    app.timer(OUTPUTS_INTERVAL_S, name="outputs")(verify_outputs)
    app.timer(settings.checkpoint_interval_ms / 1000, name="checkpoint")(checkpoint)
    app.timer(COMMIT_INTERVAL_S, name="commit")(commit)
    app.timer(WATCH_INTERVAL_S, name="watch")(watch)
