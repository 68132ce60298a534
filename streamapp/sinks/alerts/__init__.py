"""Anomalies as alerts for people: on the console or to a webhook."""
