"""The demo from start to figures; leaves nothing running, whatever happens."""

import json
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.dataset

from streamapp import __version__
from streamapp.broker import LocalBroker
from streamapp.broker.network import free_port
from streamapp.broker.waiting import wait_until
from streamapp.demo.audit import Audit, Outputs
from streamapp.demo.damaged import with_damaged
from streamapp.demo.processes import Child, DemoError
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.replay.producer import Sent, send
from streamapp.replay.reader import recorded
from streamapp.replay.schedule import AtOnce, FixedRate

#: Where loops are not compiled yet, a busy machine takes some minutes.
READY_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
#: A sink that has had nothing to do for this long is done.
SINK_IDLE_S = 4.0
#: Damaged messages come after this many batches, when every partition has a stream time.
_DAMAGED_AFTER = 5
_LIBRARIES = ("faust-streaming", "aiokafka", "confluent-kafka", "scikit-learn", "river", "numpy")


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to replay and where. rate_per_s None: as fast as the broker takes it."""

    recording: Path
    skip: int
    limit: int
    rate_per_s: float | None
    broker_kind: str
    has_console: bool = False


@dataclass(slots=True)
class DemoState:
    """Where the demo stands, for whoever shows it."""

    step: str = "starting"
    sent: Sent | None = None
    outputs: Outputs | None = None


def run_demo(plan: DemoPlan, stop: threading.Event, show: Callable[[DemoState], None]) -> Any:
    """Run everything and return the report. Raises DemoError, BrokerError or RecordedError.

    None where somebody who looked at the console has stopped it. Logs stay in a temporary
    directory only where something failed.
    """
    directory = Path(tempfile.mkdtemp(prefix="streamapp-demo-"))
    report = _run_in(directory, plan, stop, show)
    shutil.rmtree(directory, ignore_errors=True)
    return report


def _run_in(
    directory: Path, plan: DemoPlan, stop: threading.Event, show: Callable[[DemoState], None]
) -> dict[str, Any] | None:
    state = DemoState()

    def step(name: str) -> None:
        state.step = name
        show(state)

    with ExitStack() as stack:
        step(f"starting broker ({plan.broker_kind})")
        broker = stack.enter_context(LocalBroker.start(plan.broker_kind))
        settings = _settings(broker, directory)
        step("starting worker")
        worker = stack.enter_context(_child("worker", ["worker"], settings, directory))
        port = settings["STREAMAPP_WORKER__HTTP_PORT"]
        worker.wait_ready(f"http://127.0.0.1:{port}/readyz", READY_TIMEOUT_S)
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        audit = Audit(kafka, TopicSettings())
        stack.callback(audit.close)
        state.outputs = audit.outputs
        sinks = [
            stack.enter_context(_child(name, _sink(name), settings, directory))
            for name in ("parquet", "alerts")
        ]
        if plan.has_console:
            step(f"console: {_console(stack, settings, directory)}")
        step("replaying")
        started = time.monotonic()
        state.sent = _replay(plan, kafka, stop, state, show)
        if plan.has_console and stop.is_set():
            return None
        step("waiting for the last verdicts")
        _await_answers(state, worker, stop, show)
        wall_s = time.monotonic() - started
        step("waiting for the sinks")
        for sink in sinks:
            sink.finish(ANSWER_TIMEOUT_S)
        step("stopping")
        worker.stop(STOP_TIMEOUT_S)
        worker.check()
        return _report(broker, state.sent, audit.outputs, wall_s, directory)


@contextmanager
def _child(
    name: str, arguments: list[str], settings: dict[str, str], directory: Path
) -> Iterator[Child]:
    child = Child(name, arguments, settings, directory)
    try:
        yield child
    finally:
        child.stop(STOP_TIMEOUT_S)


def _console(stack: ExitStack, settings: dict[str, str], directory: Path) -> str:
    """Its address, once it can be opened."""
    port = free_port()
    own = {**settings, "STREAMAPP_API__PORT": str(port)}
    console = stack.enter_context(_child("console", ["console"], own, directory))
    console.wait_ready(f"http://127.0.0.1:{port}/readyz", READY_TIMEOUT_S)
    lines = console.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next(line for line in lines if line.startswith("http://"))


def _sink(name: str) -> list[str]:
    return ["sink", "run", name, "--until-idle", str(SINK_IDLE_S)]


def _settings(broker: LocalBroker, directory: Path) -> dict[str, str]:
    return {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "STREAMAPP_WORKER__STATE_DIR": str(directory / "state"),
        "STREAMAPP_WORKER__HTTP_PORT": str(free_port()),
        "STREAMAPP_PARQUET__DIRECTORY": str(directory / "verdicts"),
        "STREAMAPP_API__KEYS_FILE": str(directory / "keys.json"),
    }


def _replay(
    plan: DemoPlan,
    kafka: KafkaSettings,
    stop: threading.Event,
    state: DemoState,
    show: Callable[[DemoState], None],
) -> Sent:
    def on_progress(sent: Sent) -> None:
        state.sent = sent
        show(state)

    batches = recorded(plan.recording, skip=plan.skip, limit=plan.limit)
    sent = send(
        with_damaged(batches, _DAMAGED_AFTER),
        kafka=kafka,
        topic=TopicSettings().name("transactions"),
        schedule=FixedRate(plan.rate_per_s) if plan.rate_per_s else AtOnce(),
        stop=stop,
        on_progress=on_progress,
    )
    if not sent.complete and not (plan.has_console and stop.is_set()):
        raise DemoError(f"the replay was cut short after {sent.acknowledged} transactions")
    return sent


def _await_answers(
    state: DemoState, worker: Child, stop: threading.Event, show: Callable[[DemoState], None]
) -> None:
    sent, outputs = state.sent, state.outputs
    assert sent is not None
    assert outputs is not None

    def is_done() -> bool:
        worker.check()
        show(state)
        return stop.is_set() or outputs.answered >= sent.acknowledged

    if not wait_until(is_done, ANSWER_TIMEOUT_S) or stop.is_set():
        raise DemoError(
            f"{outputs.answered} of {sent.acknowledged} transactions had an answer; see "
            f"{worker.log}"
        )


def _report(
    broker: LocalBroker, sent: Sent, outputs: Outputs, wall_s: float, directory: Path
) -> dict[str, Any]:
    stored = pyarrow.dataset.dataset(directory / "verdicts", format="parquet")
    return {
        "transactions": sent.acknowledged,
        "verdicts": outputs.verdicts,
        "anomalies": outputs.anomalies,
        "dead_letters": outputs.dead_letters,
        "duplicates": outputs.duplicates,
        "alerts": _alerts(directory / "alerts.log"),
        "rows_stored": stored.count_rows(),
        "wall_s": round(wall_s, 3),
        "events_per_s": round(outputs.answered / wall_s, 1),
        "latency_ms": outputs.percentiles(),
        "severity": dict(sorted(outputs.severity.items())),
        "dead_letter_reasons": dict(sorted(outputs.reasons.items())),
        "broker": {"kind": str(broker.kind), "version": broker.version},
        "versions": {
            "streamapp": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }


def _alerts(log: Path) -> int:
    """Alerts sent, as the alert sink's last line counts them."""
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
        if "sink_stopped" in line:
            return int(json.loads(line)["stored"])
    raise DemoError(f"the alert sink did not say how many alerts it sent; see {log}")
