"""The HTTP API and the live console: beside the workers, never in the way of a transaction."""
