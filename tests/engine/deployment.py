"""One system on the shared broker: its topics, its workers, and what they must have produced."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import (
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from streamapp.broker.waiting import wait_until
from streamapp.engine.store import PARTITION_STATE_KEY, StateStore, user_key
from streamapp.features.profile import seal
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import ensure_topics, worker_topics
from streamapp.replay.producer import send
from streamapp.replay.reader import recorded
from streamapp.replay.schedule import FixedRate
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.pipeline import Pipeline
from tests.engine.worker_process import WorkerProcess
from tests.kafka.records import read_all
from tests.leaks.marks import payments

PARTITIONS = 4
ANSWER_TIMEOUT_S = 120.0

Place = tuple[int, int]
"""Partition and offset of a transaction."""


@dataclass(frozen=True)
class Expected:
    """What a system must have produced from the records of its source topic."""

    verdicts: dict[str, bytes]
    letters: dict[Place, Message]
    state: dict[tuple[int, bytes], bytes]
    ends: dict[int, int]


@dataclass
class Found:
    """What readers of committed records found."""

    verdicts: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    letters: dict[Place, Message] = field(default_factory=dict)
    repeated_verdicts: int = 0
    repeated_letters: int = 0

    @property
    def answered(self) -> int:
        """Transactions with a verdict or a letter."""
        return len(self.verdicts) + len(self.letters)

    @property
    def differing(self) -> int:
        """Verdicts seen in more than one form."""
        return sum(len(forms) > 1 for forms in self.verdicts.values())


class Deployment:
    """Topics under one prefix and the workers started on them; all ended by `close`."""

    def __init__(self, kafka: KafkaSettings, prefix: str, directory: Path) -> None:
        self.kafka = kafka
        self.topics = TopicSettings(prefix=prefix, partitions=PARTITIONS)
        self.directory = directory
        self.group = prefix.strip(".")[-40:].strip("-")
        self.changelog = f"{prefix}{self.group}.state"
        self._workers: list[WorkerProcess] = []
        # Of the group, to ask for its offsets; it never joins. (librdkafka's admin client crashes
        # when it asks for them while their broker comes back.)
        self._watcher = Consumer({**kafka.librdkafka(), "group.id": self.group})

    def make_topics(self) -> None:
        """As the first worker would; they can be read then."""
        ensure_topics(self.kafka, worker_topics(self.topics, self.changelog), 1)
        self.await_leaders()

    def worker(
        self, state: str = "state", environment: Mapping[str, str] | None = None, **settings: object
    ) -> WorkerProcess:
        """Start a worker; settings of the worker's group by their names in lower case."""
        given = {f"STREAMAPP_WORKER__{name.upper()}": str(v) for name, v in settings.items()}
        log = self.directory / f"worker-{len(self._workers)}.log"
        worker = WorkerProcess(self._environment(state) | given | dict(environment or {}), log)
        self._workers.append(worker)
        return worker

    def _environment(self, state: str) -> dict[str, str]:
        return {
            "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "STREAMAPP_TOPICS__PREFIX": self.topics.prefix,
            "STREAMAPP_WORKER__GROUP": self.group,
            "STREAMAPP_WORKER__STATE_DIR": str(self.directory / state),
            "STREAMAPP_WORKER__HTTP_PORT": "0",
        }

    def command(self, *words: str, state: str = "state") -> tuple[int, str]:
        """Run `streamapp` with the settings of this system's workers; exit code and all it says."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMAPP_")}
        done = subprocess.run(
            [sys.executable, "-m", "streamapp", *words],
            env={**inherited, **self._environment(state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def make_again(self, topic: str, config: Mapping[str, str] | None = None) -> None:
        """Delete a topic and make it again, empty."""
        admin = AdminClient({**self.kafka.librdkafka()})
        admin.delete_topics([topic])[topic].result(30)
        assert wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 30)
        plan = NewTopic(topic, PARTITIONS, 1, config=dict(config or {}))
        admin.create_topics([plan])[topic].result(30)
        assert wait_until(lambda: topic in admin.list_topics(timeout=10).topics, 30)

    def replay(self, rows: int) -> None:
        """Send the first rows of the sample, and wait for their acknowledgement."""
        sent = send(
            recorded(payments(), limit=rows),
            kafka=self.kafka,
            topic=self.topics.name("transactions"),
            flush_timeout_s=60.0,
        )
        assert sent.complete, sent.errors

    @contextmanager
    def load(self, per_s: float) -> Iterator[list[int]]:
        """Send the sample at this rate while the block runs; then the list holds how many rows."""
        stop = threading.Event()
        rows: list[int] = []

        def run() -> None:
            sent = send(
                recorded(payments()),
                kafka=self.kafka,
                topic=self.topics.name("transactions"),
                schedule=FixedRate(per_s),
                stop=stop,
                flush_timeout_s=60.0,
            )
            assert not sent.failed
            assert not sent.waiting
            rows.append(sent.acknowledged)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield rows
        finally:
            stop.set()
            thread.join(60.0)

    def expected(self, model: ModelArtifact) -> Expected:
        """By one undisturbed pipeline for each partition, over what the source topic holds."""
        source = self.topics.name("transactions")
        expected = Expected({}, {}, {}, {})
        found: dict[int, list[Message]] = {partition: [] for partition in range(PARTITIONS)}
        for message in read_all(self.kafka, source):
            found[message.partition() or 0].append(message)
        for partition, messages in found.items():
            pipeline = Pipeline(model, topic=source, partition=partition)
            scored = pipeline.process([m.key() for m in messages], [m.value() for m in messages])
            for row, payload in zip(scored.rows, scored.payloads, strict=True):
                expected.verdicts[f"{source}-{partition}-{row}"] = payload
            for row in scored.refused_rows:
                expected.letters[partition, row] = messages[row]
            for user, profile in pipeline.profiles.items():
                if profile["event_count"]:
                    expected.state[partition, user_key(user)] = seal(profile)
            if messages:
                trees = model.half_space_trees
                expected.state[partition, PARTITION_STATE_KEY] = pipeline.state.to_bytes(trees)
                expected.ends[partition] = len(messages)
        return expected

    def found(self, answers: int) -> Found:
        """Everything in the output topics, once that many transactions have an answer."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S

        def is_late() -> bool:
            return time.monotonic() > deadline or not any(w.is_alive for w in self._workers)

        wait_until(lambda: sum(self.committed().values()) >= answers or is_late(), ANSWER_TIMEOUT_S)
        while (found := self._found_now()).answered < answers:
            assert not is_late(), f"{found.answered} of {answers} have an answer: {self._logs()}"
        return found

    def _found_now(self) -> Found:
        found = Found()
        for message in read_all(self.kafka, self.topics.name("verdicts")):
            payload = message.value()
            if payload is None:  # a user was erased
                continue
            forms = found.verdicts[json.loads(payload)["verdict_id"]]
            found.repeated_verdicts += bool(forms)
            forms.add(payload)
        for message in read_all(self.kafka, self.topics.name("dead_letters")):
            headers = headers_of(message)
            place = int(headers["dlq.partition"]), int(headers["dlq.offset"])
            found.repeated_letters += place in found.letters
            found.letters[place] = message
        return found

    def output_offsets(self) -> int:
        """Records in the topic of verdicts, committed or not."""
        return self._offsets(self.topics.name("verdicts"))

    def source_offsets(self) -> int:
        """Records in the topic of transactions."""
        return self._offsets(self.topics.name("transactions"))

    def verdict_offsets(self) -> int:
        """Committed records in the topic of verdicts, ends of transactions among them."""
        return self._offsets(self.topics.name("verdicts"))

    def _offsets(self, topic: str) -> int:
        return sum(
            self._watcher.get_watermark_offsets(TopicPartition(topic, partition), 10)[1]
            for partition in range(PARTITIONS)
        )

    def await_leaders(self) -> None:
        """Return when every topic can be read: some time after it is made or its broker is back."""
        names = [plan.name for plan in worker_topics(self.topics, self.changelog)]
        places = [TopicPartition(name, p) for name in names for p in range(PARTITIONS)]

        def is_led() -> bool:
            try:
                return all(self._watcher.get_watermark_offsets(place, 5) for place in places)
            except KafkaException:
                return False

        assert wait_until(is_led, 30)

    def committed(self) -> dict[int, int]:
        """Offsets of the group; 0 where it has none, nothing while it can't be asked."""
        source = self.topics.name("transactions")
        places = [TopicPartition(source, partition) for partition in range(PARTITIONS)]
        try:
            return {tp.partition: max(tp.offset, 0) for tp in self._watcher.committed(places, 10)}
        except KafkaException:
            return {}

    def changelog_state(self) -> dict[tuple[int, bytes], bytes]:
        """The changelog compacted by hand."""
        state = {}
        for message in read_all(self.kafka, self.changelog):
            state[message.partition() or 0, message.key() or b""] = message.value()
        return {place: value for place, value in state.items() if value is not None}

    def stored_state(self, *directories: str) -> dict[tuple[int, bytes], bytes]:
        """What RocksDB holds, each partition from the copy that is furthest. Workers must be gone.

        With no directory, that of `worker`'s default.
        """
        state: dict[tuple[int, bytes], bytes] = {}
        for partition in range(PARTITIONS):
            copies = []
            for name in directories or ("state",):
                path = self.directory / name / f"p{partition:05d}"
                if path.exists():
                    store = StateStore(path)
                    copies.append((store.changelog_offset, dict(store.items())))
                    store.close()
            _, newest = max(copies, key=lambda copy: copy[0])
            state |= {(partition, key): value for key, value in newest.items()}
        return state

    def _logs(self) -> str:
        return "\n".join(worker.log.read_text()[-1500:] for worker in self._workers)

    def close(self) -> None:
        """End what still runs, its last metrics kept."""
        for worker in self._workers:
            if worker.is_alive and worker.logged("health_served"):
                worker.get("/metrics")
            worker.close()
        self._watcher.close()


def headers_of(message: Message) -> dict[str, bytes]:
    """The headers of a record; values of ours are bytes."""
    headers: Iterable[tuple[str, bytes]] = message.headers() or []  # type: ignore[assignment]
    return dict(headers)


def report(line: str) -> None:
    """Show a measured figure; pytest prints it with `-s` or where the test fails."""
    sys.stdout.write(f"{line}\n")


def assert_undisturbed(
    deployment: Deployment, expected: Expected, found: Found, *stores: str
) -> None:
    """Verdict bytes, letters, changelog and RocksDB are those of an undisturbed run."""
    assert {i: {payload} for i, payload in expected.verdicts.items()} == found.verdicts
    assert expected.letters.keys() == found.letters.keys()
    for place, letter in found.letters.items():
        sent = expected.letters[place]
        assert (sent.key(), sent.value()) == (letter.key(), letter.value())
    assert expected.state == deployment.changelog_state()
    assert expected.state == deployment.stored_state(*stores)
    assert expected.ends == {p: o for p, o in deployment.committed().items() if o > 0}
