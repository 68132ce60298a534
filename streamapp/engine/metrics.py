"""Every metric of a worker, named once. Labels have bounded values; none names a person."""

from functools import lru_cache
from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

from streamapp.engine.batch_histogram import BatchHistogram

#: What a transaction passes through beside being scored (`streamapp_batch_seconds`). wait: from the
#: time its record bears, by its sender's clock or the broker's, to the beginning of its batch, for
#: the batch's oldest; output: until what was scored is handed over; and of a checkpoint snapshot,
#: commit and store.
Stage = Literal["wait", "output", "snapshot", "commit", "store"]

_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


TRANSACTIONS = Counter(
    "streamapp_transactions_total", "Records taken from the source topic.", ["partition"]
)
VERDICTS = Counter("streamapp_verdicts_total", "Verdicts produced.", ["severity"])
RISK_SCORE = BatchHistogram(
    "streamapp_risk_score_points",
    "Risk scores, 0 to 100, duplicates left out.",
    buckets=(5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100),
)
DEAD_LETTERS = Counter("streamapp_dead_letters_total", "Records refused.", ["reason"])
LATE_EVENTS = Counter("streamapp_late_events_total", "Events older than their user's newest.")
DUPLICATES = Counter("streamapp_duplicates_total", "Transactions seen before for their user.")
FENCED_EVENTS = Counter(
    "streamapp_fenced_events_total", "Replayed events whose profile already holds them."
)
ERASURES = Counter("streamapp_erasures_total", "Users forgotten by an erasure in the stream.")
CROWDING_EVENTS = Counter(
    "streamapp_crowding_events_total",
    "Events that taught the half-space trees nothing, for their user had taught enough.",
)
HALF_SPACE_ORDER = Gauge(
    "streamapp_half_space_order",
    "How far the last window ranks traffic as the reference does: 1 to -1, below 0 inverted.",
    ["partition"],
)
BATCH_RECORDS = Histogram(
    "streamapp_batch_records", "Records scored at once.", buckets=(1, 4, 16, 64, 256, 512, 1024)
)
BATCH_SECONDS = Histogram(
    "streamapp_batch_seconds", "Time to score one batch.", buckets=_LATENCY_BUCKETS
)
STAGE_SECONDS = Histogram(
    "streamapp_stage_seconds",
    "Time of one stage of a batch (wait, output) or a checkpoint (snapshot, commit, store).",
    ["stage"],
    buckets=_LATENCY_BUCKETS,
)
CHECKPOINT_SECONDS = Histogram(
    "streamapp_checkpoint_seconds", "Time of one checkpoint.", buckets=_LATENCY_BUCKETS
)
CHECKPOINT_PROFILES = Histogram(
    "streamapp_checkpoint_profiles",
    "Profiles written by one checkpoint.",
    buckets=(1, 4, 16, 64, 256, 512, 1024),
)
LAG_RECORDS = Gauge("streamapp_lag_records", "Records not yet checkpointed.", ["partition"])
LAG_SECONDS = Gauge(
    "streamapp_lag_seconds",
    "Age of the newest record scored, while others wait; 0 where none does.",
    ["partition"],
)
STREAM_TIME_SECONDS = Gauge(
    "streamapp_stream_time_seconds", "Newest event time seen, epoch seconds.", ["partition"]
)
PARTITIONS = Gauge("streamapp_partitions", "Partitions this worker owns.")
REBALANCES = Counter("streamapp_rebalances_total", "Assignments received.")
RECOVERY_REMAINING = Gauge(
    "streamapp_recovery_remaining_records",
    "Changelog records that are still to be replayed.",
    ["partition"],
)
RECOVERED_RECORDS = Counter("streamapp_recovered_records_total", "Changelog records replayed.")
TRANSACTIONS_ABORTED = Counter(
    "streamapp_transactions_aborted_total",
    "Transactions left for the broker to abort (unfinished), and those made to be (settling).",
    ["reason"],
)
TRANSACTIONS_SETTLED = Counter(
    "streamapp_transactions_settled_total",
    "Transactions of an earlier owner that the broker had not ended everywhere.",
)
STATE_REBUILDS = Counter(
    "streamapp_state_rebuilds_total",
    "Local stores set aside, to be built again from the changelog.",
    ["reason"],
)
PARTITION_STOPPED = Gauge(
    "streamapp_partition_stopped",
    "1 for a partition this worker was given and does not score; /readyz says more.",
    ["partition", "reason"],
)
RECOVERY_SECONDS = Gauge("streamapp_recovery_seconds", "Time the last recovery took.")
STATE_BYTES = Gauge("streamapp_state_bytes", "Size of a partition's state on disk.", ["partition"])
CACHED_PROFILES = Gauge("streamapp_cached_profiles", "Profiles in memory.", ["partition"])
PROFILE_READS = Counter(
    "streamapp_profile_reads_total",
    "Profiles looked up, by where they were found.",
    ["found"],
)
QUESTIONS = Counter(
    "streamapp_questions_total", "What the API asked about users, by the answer.", ["status"]
)
MODEL_INFO = Gauge("streamapp_model_info", "Always 1; names the model in use.", ["version"])
MODEL_WRITTEN = Gauge(
    "streamapp_model_written_timestamp_seconds",
    "When the model in use was written to this disk, epoch seconds.",
)
RISK_WINDOWS_DAY = Gauge(
    "streamapp_risk_windows_day_timestamp_seconds",
    "The day whose risk windows a partition is scored with, epoch seconds of its midnight.",
    ["partition"],
)
SEVERITY_CUTOFFS_HOUR = Gauge(
    "streamapp_severity_cutoffs_hour_timestamp_seconds",
    "The hour whose cut-offs of severities a partition judges by, epoch seconds.",
    ["partition"],
)
GUARANTEE_INFO = Gauge(
    "streamapp_guarantee_info", "Always 1; names the guarantee in force.", ["guarantee"]
)
READY = Gauge("streamapp_ready", "1 when assigned, recovered and scoring.")

#: Gauges of one partition, which say nothing once it has gone to another worker.
_OF_A_PARTITION: Final = (
    HALF_SPACE_ORDER,
    RISK_WINDOWS_DAY,
    SEVERITY_CUTOFFS_HOUR,
    LAG_RECORDS,
    LAG_SECONDS,
    STREAM_TIME_SECONDS,
    RECOVERY_REMAINING,
    STATE_BYTES,
    CACHED_PROFILES,
)

# A count that has never been shown can't be seen to rise.
for _reason in ("unfinished", "settling"):
    TRANSACTIONS_ABORTED.labels(_reason)
QUESTIONS.labels("200")


def forget_partitions() -> None:
    """Show no gauge of a partition until it is set again."""
    for gauge in _OF_A_PARTITION:
        gauge.clear()


def note_stage(stage: Stage, seconds: float) -> None:
    """Count one pass of a stage."""
    _stage(stage).observe(seconds)


@lru_cache
def _stage(stage: Stage) -> Histogram:
    return STAGE_SECONDS.labels(stage)
