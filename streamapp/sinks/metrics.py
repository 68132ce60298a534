"""Every metric of the sinks, declared once. Label values are closed sets."""

from typing import Final, Literal

from prometheus_client import Counter, Gauge, Histogram

#: What became of a record: new to the sink; nothing to do (a repeat, not the newest, held back,
#: refused); or not verdict v1 at all.
Outcome = Literal["stored", "unchanged", "undecodable"]

VERDICTS: Final = Counter(
    "streamapp_sink_verdicts_total", "Records a sink was done with.", ["sink", "outcome"]
)
REFUSED: Final = Counter(
    "streamapp_sink_refused_total", "Verdicts the other side refused for good.", ["sink"]
)
SUPPRESSED: Final = Counter(
    "streamapp_sink_suppressed_total", "Alerts held back by a user's cooldown."
)
RETRIES: Final = Counter(
    "streamapp_sink_retries_total", "Attempts repeated because the other side was away.", ["sink"]
)
BROKER_ERRORS: Final = Counter(
    "streamapp_sink_broker_errors_total", "Errors the broker's client reported.", ["sink"]
)
AVAILABLE: Final = Gauge(
    "streamapp_sink_available", "1 while the other side takes verdicts, else 0.", ["sink"]
)
LAG: Final = Gauge(
    "streamapp_sink_lag_records",
    "Records between the sink's position and the end of its assigned partitions.",
    ["sink"],
)
WRITE_SECONDS: Final = Histogram(
    "streamapp_sink_write_seconds",
    "Time of one successful write of a batch.",
    ["sink"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
COMMITS: Final = Counter(
    "streamapp_sink_commits_total", "Offset commits, after the verdicts were durable.", ["sink"]
)
FILES: Final = Counter("streamapp_sink_parquet_files_total", "Parquet files completed and named.")
ALERTS: Final = Counter(
    "streamapp_sink_alerts_total", "Alerts sent, by severity of the verdict.", ["severity"]
)
