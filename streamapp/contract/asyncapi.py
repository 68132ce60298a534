"""AsyncAPI 3.0: every topic, who reads and writes it, keys, headers, bindings."""

from typing import Any, Final, get_args

import streamapp
from streamapp.contract.json_schema import components
from streamapp.domain.dead_letter import Reason, Stage
from streamapp.domain.transaction import PAYLOAD_BYTES_MAX
from streamapp.domain.verdict import SCHEMA_VERSION, SEVERITIES
from streamapp.kafka.control import CUTOFFS_KEY, RISK_WINDOWS_KEY, VERSION_PATTERN
from streamapp.kafka.settings import TopicRole, TopicSettings

Document = dict[str, Any]

_BINDING_VERSION: Final = "0.5.0"
_USER_KEY: Final[Document] = {"type": "string", "description": "user_id, UTF-8"}

_DEAD_LETTER_HEADERS: Final[dict[str, Document]] = {
    "dlq.reason": {"enum": [reason.value for reason in Reason]},
    "dlq.field": {"description": "The field at fault; empty where it is the whole message."},
    "dlq.stage": {"enum": list(get_args(Stage))},
    "dlq.detail": {"description": "What was expected; never a value of the payload."},
    "dlq.topic": {"description": "Where the message was read."},
    "dlq.partition": {"pattern": r"^\d+$"},
    "dlq.offset": {"pattern": r"^\d+$"},
}

_VERDICT_HEADERS: Final[dict[str, Document]] = {
    "schema": {"const": f"verdict/{SCHEMA_VERSION}"},
    "severity": {"enum": [severity.value for severity in SEVERITIES]},
}

#: Headers that a verdict carries on from its transaction, where the sender gives them.
_CARRIED_HEADERS: Final[dict[str, Document]] = {
    "traceparent": {"description": "W3C trace context."},
    "tracestate": {"description": "W3C trace context."},
    "sent_at": {"pattern": r"^\d+$", "description": "Intended send time, epoch microseconds."},
}


def asyncapi(topics: TopicSettings) -> Document:
    """The document for these topic names."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:streamapp",
        "info": {
            "title": "streamapp",
            "version": streamapp.__version__,
            "description": "Scores payment transactions for fraud while they flow through Kafka.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(topics),
        "operations": _operations(topics),
        "components": {
            "messages": _messages(),
            "schemas": components("#/components/schemas/{name}"),
        },
    }


def _channels(topics: TopicSettings) -> Document:
    return {
        "transactions": _channel(
            topics,
            "transactions",
            "Transaction",
            "Payments to be scored; among a user's own, the order to forget the user: "
            '{"erase":"profile","user_id":"…"}.',
        ),
        "verdicts": _channel(
            topics,
            "verdicts",
            "Verdict",
            "One verdict for every valid transaction. A record without a value, with the header "
            "schema erasure/1, says that the user of its key was erased: forget what came before.",
        ),
        "anomalies": _channel(
            topics,
            "anomalies",
            "Verdict",
            f"Verdicts of severity {topics.anomaly_severity} and above.",
        ),
        "dead_letters": _channel(
            topics, "dead_letters", "DeadLetter", "Messages that can't be scored, unchanged."
        ),
        "labels": _channel(topics, "labels", "Label", "What became known of payments."),
        "label_dead_letters": _channel(
            topics, "label_dead_letters", "DeadLetter", "Messages that are no labels, unchanged."
        ),
        "control": _channel(
            topics,
            "control",
            "RiskWindows",
            "What workers are to take over; compacted.",
            "SeverityCutoffs",
        ),
    }


def _channel(
    topics: TopicSettings, role: TopicRole, message: str, description: str, *also: str
) -> Document:
    name = topics.name(role)
    return {
        "address": name,
        "description": description,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in (message, *also)},
        "bindings": {
            "kafka": {
                "topic": name,
                "partitions": topics.partitions,
                "replicas": topics.replication_factor,
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operations(topics: TopicSettings) -> Document:
    return {
        "scoreTransactions": _operation("receive", "transactions", "Read what is to be scored."),
        "publishVerdicts": _operation(
            "send", "verdicts", "Answer, on the partition number of the transaction."
        ),
        "publishAnomalies": _operation(
            "send", "anomalies", f"Repeat verdicts of {topics.anomaly_severity} and above."
        ),
        "publishDeadLetters": _operation(
            "send", "dead_letters", "Put aside what can't be scored, with the reason."
        ),
        "learnLabels": _operation("receive", "labels", "Read what became known of payments."),
        "publishLabelDeadLetters": _operation(
            "send", "label_dead_letters", "Put aside what is no label, with the reason."
        ),
        "takeOver": _operation(
            "receive", "control", "Take over between two batches, once stream time is there."
        ),
    }


def _operation(action: str, channel: str, summary: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
    }


def _messages() -> Document:
    return {
        "Transaction": {
            "summary": f"Transaction v1, at most {PAYLOAD_BYTES_MAX} bytes",
            "headers": _headers({}, _CARRIED_HEADERS),
            "bindings": _bindings(_USER_KEY),
            "payload": {"$ref": "#/components/schemas/Transaction"},
        },
        "Verdict": {
            "summary": "Verdict v1",
            "headers": _headers(_VERDICT_HEADERS, _CARRIED_HEADERS),
            "bindings": _bindings(_USER_KEY),
            "payload": {"$ref": "#/components/schemas/Verdict"},
        },
        "Label": {
            "summary": f"Label v1, at most {PAYLOAD_BYTES_MAX} bytes",
            "bindings": _bindings(_USER_KEY),
            "payload": {"$ref": "#/components/schemas/Label"},
        },
        "DeadLetter": {
            "summary": "The bytes as received",
            "contentType": "application/octet-stream",
            "headers": _headers(_DEAD_LETTER_HEADERS, {}),
            "bindings": _bindings({"description": "as received"}),
        },
        "RiskWindows": {
            "summary": "Names a file in the directory of risk windows that all workers read",
            "bindings": _bindings({"const": RISK_WINDOWS_KEY.decode()}),
            "payload": {
                "type": "object",
                "properties": {
                    "version": {
                        "type": "string",
                        "pattern": VERSION_PATTERN,
                        "description": "Their day, a dot, and the beginning of the file's SHA-256.",
                    }
                },
                "required": ["version"],
            },
        },
        "SeverityCutoffs": {
            "summary": "Cut-offs of severities, and what whoever publishes the next ones needs",
            "bindings": _bindings({"const": CUTOFFS_KEY.decode()}),
            "payload": {
                "type": "object",
                "properties": {
                    "version": {
                        "type": "string",
                        "description": "Hour (UTC), and the lowest risk of MEDIUM, HIGH, CRITICAL.",
                        "examples": ["2024-03-01T09/50.00/70.00/92.88"],
                    }
                },
                "required": ["version"],
            },
        },
    }


def _headers(required: dict[str, Document], optional: dict[str, Document]) -> Document:
    """Values are bytes in Kafka; the rules are on their UTF-8 text."""
    rules = required | optional
    headers: Document = {
        "type": "object",
        "properties": {name: {"type": "string"} | rule for name, rule in rules.items()},
    }
    return headers | ({"required": list(required)} if required else {})


def _bindings(key: Document) -> Document:
    return {"kafka": {"key": key, "bindingVersion": _BINDING_VERSION}}
