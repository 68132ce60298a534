"""The files of the published contract and how they are written."""

import json
from typing import Any

from streamapp.contract.asyncapi import asyncapi
from streamapp.contract.json_schema import label_schema, transaction_schema, verdict_schema
from streamapp.kafka.settings import TopicSettings


def documents(topics: TopicSettings) -> dict[str, dict[str, Any]]:
    """File name → document, of the whole contract."""
    return {
        "transaction.v1.schema.json": transaction_schema(),
        "verdict.v1.schema.json": verdict_schema(),
        "label.v1.schema.json": label_schema(),
        "asyncapi.json": asyncapi(topics),
    }


def render(document: dict[str, Any]) -> str:
    """JSON text of a document, the same each time: fields stand in the order of the code."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
