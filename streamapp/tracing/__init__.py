"""OpenTelemetry spans of API requests and of a worker's batches; off unless a setting says so."""
