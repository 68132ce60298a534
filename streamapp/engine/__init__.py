"""The Faust application: micro-batch transport, profile table, checkpoint, agent, health."""
