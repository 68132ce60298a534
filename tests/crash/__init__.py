"""The crash campaign: workers and brokers broken under load, the outcome compared by bytes."""
