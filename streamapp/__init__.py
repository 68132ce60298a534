"""streamapp: scores payment transactions for fraud while they flow through Kafka."""

__version__ = "0.1.0"
