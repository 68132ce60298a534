"""Faust with streamapp's kernels: an agent an event, the profile in a table on RocksDB.

As its documentation advises, and with what its authors would take from it where speed matters:
bytes in and out (the raw codec), no models to parse twice, no web server. Run by
`benchmarks.peers`.
"""

import logging
import os
from pathlib import Path
from typing import Any

import faust
from faust.types import StreamT

from benchmarks.peers.event_scorer import EventScorer
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir

# The worker leaves its loggers open for debugging: 8 % of its CPU went into records no one sees.
logging.disable(logging.INFO)

PREFIX = os.environ["BENCHMARK_PREFIX"]
TRANSACTIONS = f"{PREFIX}transactions"
MEDIUM = 1

app = faust.App(
    f"{PREFIX}faust",
    broker=f"kafka://{os.environ['BENCHMARK_BOOTSTRAP']}",
    store="rocksdb://",
    datadir=Path(os.environ["BENCHMARK_STATE_DIR"]),
    topic_partitions=int(os.environ["BENCHMARK_PARTITIONS"]),
    processing_guarantee=os.environ["BENCHMARK_GUARANTEE"],
    web_enabled=False,
    producer_compression_type="zstd",
    producer_linger=0.02,
    producer_max_batch_size=512 * 1024,
)
RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
transactions_topic = app.topic(TRANSACTIONS, **RAW)
verdicts_topic = app.topic(f"{PREFIX}verdicts", **RAW)
anomalies_topic = app.topic(f"{PREFIX}anomalies", **RAW)
profiles = app.Table("profiles", key_type=bytes, value_type=bytes)

model = load(default_model_dir())
scorers: dict[int, EventScorer] = {}


@app.agent(transactions_topic)
async def score(stream: StreamT[Any]) -> None:
    """Score each transaction as it comes."""
    async for event in stream.events():
        message, key = event.message, event.key
        scorer = scorers.get(message.partition)
        if scorer is None:
            scorer = scorers[message.partition] = EventScorer(
                model, TRANSACTIONS, message.partition
            )
        scored = scorer.score(key, event.value, message.offset, profiles.get(key))
        if scored is None:
            continue
        profiles[key] = scored.profile
        await verdicts_topic.send(key=key, value=scored.payload)
        if scored.severity >= MEDIUM:
            await anomalies_topic.send(key=key, value=scored.payload)


if __name__ == "__main__":
    app.main()
