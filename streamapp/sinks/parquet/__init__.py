"""Verdicts as Parquet files that DuckDB, pandas and Spark read: the embedded default."""
