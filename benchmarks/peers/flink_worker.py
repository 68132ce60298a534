"""PyFlink with streamapp's kernels: a keyed process function, the profile in its RocksDB state.

As its documentation advises: Kafka's table connectors for keys and metadata, a keyed stream with
value state, RocksDB with incremental checkpoints, sinks of the guarantee under test. The job runs
in a mini cluster of this process's JVM. Run by `benchmarks.peers`.
"""

import os
import sys
from collections.abc import Iterator

from pyflink.common import Configuration, Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import StreamTableEnvironment

from benchmarks.peers.event_scorer import EventScorer
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

PREFIX = os.environ["BENCHMARK_PREFIX"]
GUARANTEE = os.environ["BENCHMARK_GUARANTEE"]
PARTITIONS = int(os.environ["BENCHMARK_PARTITIONS"])
MEDIUM = 1

SETTINGS = {
    "python.executable": sys.executable,
    "python.client.executable": sys.executable,
    "python.execution-mode": os.environ.get("BENCHMARK_FLINK_MODE", "process"),
    "parallelism.default": os.environ.get("BENCHMARK_FLINK_PARALLELISM", "1"),
    "pipeline.jars": f"file://{os.environ['BENCHMARK_FLINK_JAR']}",
    "state.backend.type": "rocksdb",
    "execution.checkpointing.incremental": "true",
    "execution.checkpointing.dir": f"file://{os.environ['BENCHMARK_STATE_DIR']}/checkpoints",
    # A reader of committed verdicts waits for the checkpoint; so with every engine here.
    "execution.checkpointing.interval": "1s",
    "execution.checkpointing.mode": GUARANTEE.upper(),
}
KAFKA = {
    "connector": "kafka",
    "properties.bootstrap.servers": os.environ["BENCHMARK_BOOTSTRAP"],
    "key.format": "raw",
    "key.fields": "user_id",
    "value.format": "raw",
    "value.fields-include": "EXCEPT_KEY",
}
SOURCE = {"properties.group.id": f"{PREFIX}flink", "scan.startup.mode": "earliest-offset"}
SINK = {
    "sink.delivery-guarantee": GUARANTEE.replace("_", "-"),
    "properties.transaction.timeout.ms": "60000",
    # The connector comes without the library for zstd.
    "properties.compression.type": "snappy",
}
BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
SCORED = Types.ROW_NAMED(["user_id", "payload", "severity"], [Types.STRING(), BYTES, Types.INT()])


class Score(KeyedProcessFunction):  # type: ignore[misc]
    """Scores the transactions of a user; the profile is the state."""

    def open(self, runtime_context: RuntimeContext) -> None:
        """Load the model where the function runs."""
        model = load(default_model_dir())
        self._scorers = [
            EventScorer(model, f"{PREFIX}transactions", partition)
            for partition in range(PARTITIONS)
        ]
        self._profile = runtime_context.get_state(
            ValueStateDescriptor("profile", Types.PICKLED_BYTE_ARRAY())
        )

    def process_element(self, value: Row, _ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """The verdict on one transaction."""
        user_id, payload, partition, offset = value
        scorer = self._scorers[partition]
        scored = scorer.score(user_id.encode(), payload, offset, self._profile.value())
        if scored is not None:
            self._profile.update(scored.profile)
            yield Row(user_id, scored.payload, scored.severity)


def create_table(
    tables: StreamTableEnvironment, name: str, columns: str, options: dict[str, str]
) -> None:
    """A table over a topic whose key and value are told byte for byte."""
    told = KAFKA | {"topic": f"{PREFIX}{name}"} | options
    options_sql = ", ".join(f"'{key}' = '{value}'" for key, value in told.items())
    tables.execute_sql(f"CREATE TABLE {name} ({columns}) WITH ({options_sql})")


def main() -> None:
    """Build the job and run it until it is stopped."""
    # The interpreter that thread mode embeds does not know this virtual environment.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    configuration = Configuration()
    for key, value in SETTINGS.items():
        configuration.set_string(key, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    tables = StreamTableEnvironment.create(environment)
    columns = "user_id STRING, payload BYTES"
    metadata = "`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL"
    create_table(tables, "transactions", f"{columns}, {metadata}", SOURCE)
    for name in ("verdicts", "anomalies"):
        prefix = {"sink.transactional-id-prefix": f"{PREFIX}{name}"}
        create_table(tables, name, columns, SINK | prefix)
    events = tables.to_data_stream(tables.from_path("transactions"))
    scored = events.key_by(lambda event: event[0], Types.STRING()).process(Score(), SCORED)
    tables.create_temporary_view("scored", tables.from_data_stream(scored))
    jobs = tables.create_statement_set()
    jobs.add_insert_sql("INSERT INTO verdicts SELECT user_id, payload FROM scored")
    jobs.add_insert_sql(
        f"INSERT INTO anomalies SELECT user_id, payload FROM scored WHERE severity >= {MEDIUM}"
    )
    jobs.execute().wait()


if __name__ == "__main__":
    main()
