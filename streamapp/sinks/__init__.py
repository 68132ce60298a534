"""Where verdicts go: alerts, PostgreSQL, Parquet and Redis, each its own consumer group."""
