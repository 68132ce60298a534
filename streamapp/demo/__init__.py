"""The whole system on one machine for a minute: broker, worker, sinks, traffic, figures."""
