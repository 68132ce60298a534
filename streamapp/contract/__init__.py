"""The published contract: JSON Schema and AsyncAPI, made from the types the engine decodes with."""

from streamapp.contract.asyncapi import asyncapi
from streamapp.contract.documents import documents, render
from streamapp.contract.json_schema import label_schema, transaction_schema, verdict_schema

__all__ = [
    "asyncapi",
    "documents",
    "label_schema",
    "render",
    "transaction_schema",
    "verdict_schema",
]
