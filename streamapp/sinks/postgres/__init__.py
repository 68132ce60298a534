"""Verdicts as rows of one PostgreSQL table, upserted in batches by COPY."""
