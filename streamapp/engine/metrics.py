"""Every metric of a worker, named once. Labels have bounded values; none names a person."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

TRANSACTIONS = Counter(
    "streamapp_transactions_total", "Records taken from the source topic.", ["partition"]
)
VERDICTS = Counter("streamapp_verdicts_total", "Verdicts produced.", ["severity"])
DEAD_LETTERS = Counter("streamapp_dead_letters_total", "Records refused.", ["reason"])
LATE_EVENTS = Counter("streamapp_late_events_total", "Events older than their user's newest.")
DUPLICATES = Counter("streamapp_duplicates_total", "Transactions seen before for their user.")
FENCED_EVENTS = Counter(
    "streamapp_fenced_events_total", "Replayed events whose profile already holds them."
)
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
CHECKPOINT_SECONDS = Histogram(
    "streamapp_checkpoint_seconds", "Time of one checkpoint.", buckets=_LATENCY_BUCKETS
)
CHECKPOINT_PROFILES = Histogram(
    "streamapp_checkpoint_profiles",
    "Profiles written by one checkpoint.",
    buckets=(1, 4, 16, 64, 256, 512, 1024),
)
LAG_RECORDS = Gauge("streamapp_lag_records", "Records not yet checkpointed.", ["partition"])
STREAM_TIME_SECONDS = Gauge(
    "streamapp_stream_time_seconds", "Newest event time seen, epoch seconds.", ["partition"]
)
PARTITIONS = Gauge("streamapp_partitions", "Partitions this worker owns.")
REBALANCES = Counter("streamapp_rebalances_total", "Assignments received.")
RECOVERED_RECORDS = Counter("streamapp_recovered_records_total", "Changelog records replayed.")
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
GUARANTEE_INFO = Gauge(
    "streamapp_guarantee_info", "Always 1; names the guarantee in force.", ["guarantee"]
)
READY = Gauge("streamapp_ready", "1 when assigned, recovered and scoring.")
