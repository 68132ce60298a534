"""Quix Streams with streamapp's kernels: a stateful function an event on a StreamingDataFrame.

As its documentation advises: one Application, state in RocksDB with changelog topics, bytes state
(`get_bytes`, `set_bytes`) where JSON is not needed, defaults kept unless named below. Run by
`benchmarks.peers`.
"""

import os
from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.models import SerializationContext, Serializer

from benchmarks.peers.event_scorer import EventScorer, Scored
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

PREFIX = os.environ["BENCHMARK_PREFIX"]
TRANSACTIONS = f"{PREFIX}transactions"
MEDIUM = 1
#: Of the default 5 s only this is left: a reader of committed verdicts waits for the last commit,
#: and 5 s of that would weigh on a run of some 15 s.
COMMIT_INTERVAL_S = 1.0


class PayloadSerializer(Serializer):  # type: ignore[misc]
    """A scored event as its verdict's JSON."""

    def __call__(self, value: Scored, ctx: SerializationContext) -> bytes:  # noqa: ARG002
        return value.payload


app = Application(
    broker_address=os.environ["BENCHMARK_BOOTSTRAP"],
    consumer_group=f"{PREFIX}quix",
    auto_offset_reset="earliest",
    state_dir=os.environ["BENCHMARK_STATE_DIR"],
    processing_guarantee=os.environ["BENCHMARK_GUARANTEE"].replace("_", "-"),  # type: ignore[arg-type]
    commit_interval=COMMIT_INTERVAL_S,
    producer_extra_config={"compression.type": "zstd"},
    loglevel="WARNING",
)
transactions = app.topic(TRANSACTIONS, key_deserializer="bytes", value_deserializer="bytes")
payloads = PayloadSerializer()
verdicts = app.topic(f"{PREFIX}verdicts", key_serializer="bytes", value_serializer=payloads)
anomalies = app.topic(f"{PREFIX}anomalies", key_serializer="bytes", value_serializer=payloads)

model = load(default_model_dir())
scorers: dict[int, EventScorer] = {}


def score(value: bytes, key: bytes, _timestamp: int, _headers: Any, state: State) -> Scored | None:
    """Score one transaction; its user's profile is the state."""
    context = message_context()
    partition = context.partition
    scorer = scorers.get(partition)
    if scorer is None:
        scorer = scorers[partition] = EventScorer(model, TRANSACTIONS, partition)
    scored = scorer.score(key, value, context.offset, state.get_bytes("profile"))
    if scored is not None:
        state.set_bytes("profile", scored.profile)
    return scored


# One chain, for each branch would get a copy of the value by pickle.
stream = app.dataframe(transactions)
scored = stream.apply(score, stateful=True, metadata=True).filter(lambda one: one is not None)
scored.to_topic(verdicts).filter(lambda one: one.severity >= MEDIUM).to_topic(anomalies)

if __name__ == "__main__":
    app.run()
