"""Where the broker is and what the topics are called."""

import ssl
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from streamapp.domain.verdict import Severity

TopicRole = Literal[
    "transactions",
    "verdicts",
    "anomalies",
    "dead_letters",
    "labels",
    "label_dead_letters",
    "control",
    "audit",
]


class KafkaSettings(BaseModel):
    """How to reach the broker. The password comes from the environment or a file only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: str | None = None

    def librdkafka(self) -> dict[str, str]:
        """The same settings as librdkafka (confluent-kafka) names them."""
        config = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            # Not every broker honours a fetch's limits; a larger answer would be an error for ever.
            "receive.message.max.bytes": "1000000000",
        }
        if self.ssl_ca_file:
            config["ssl.ca.location"] = self.ssl_ca_file
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"] = self.sasl_username or ""
            config["sasl.password"] = (
                self.sasl_password.get_secret_value() if self.sasl_password else ""
            )
        return config

    def ssl_context(self) -> ssl.SSLContext | None:
        """Trust for encrypted connections; None where the connection is not encrypted."""
        if "SSL" not in self.security_protocol.replace("SASL", ""):
            return None
        return ssl.create_default_context(cafile=self.ssl_ca_file)

    def aiokafka(self) -> dict[str, Any]:
        """The same settings as aiokafka names them."""
        config: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "security_protocol": self.security_protocol,
        }
        if context := self.ssl_context():
            config["ssl_context"] = context
        if self.security_protocol.startswith("SASL"):
            password = self.sasl_password.get_secret_value() if self.sasl_password else None
            config["sasl_mechanism"] = self.sasl_mechanism
            config["sasl_plain_username"] = self.sasl_username
            config["sasl_plain_password"] = password
        return config


class TopicSettings(BaseModel):
    """Topic names. `prefix` stands before each, so that several systems can share a broker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    transactions: str = "transactions"
    verdicts: str = "verdicts"
    anomalies: str = "anomalies"
    dead_letters: str = "transactions.dlq"
    labels: str = "labels"
    label_dead_letters: str = "labels.dlq"
    control: str = "control"
    audit: str = "audit"
    partitions: int = Field(default=4, ge=1, le=10_000)
    replication_factor: int = Field(default=1, ge=1, le=10)
    anomaly_severity: Severity = Severity.MEDIUM

    def name(self, role: TopicRole) -> str:
        """The full name of a topic, prefix included."""
        return f"{self.prefix}{getattr(self, role)}"

    def changelog(self, group: str) -> str:
        """The topic that keeps the state of a group's partitions."""
        return f"{self.prefix}{group}.state"
