"""Connections and topics: what every process that speaks Kafka shares."""
