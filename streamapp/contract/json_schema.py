"""JSON Schema (draft 2020-12) of the messages, from the msgspec types that decode them."""

from typing import Any, Final

import msgspec

from streamapp.contract import examples, fields
from streamapp.domain.label import Label
from streamapp.domain.transaction import Transaction
from streamapp.domain.verdict import Verdict

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: A date-time without an offset is refused, but validators may ignore `format`.
_OFFSET_PATTERN: Final = r"([Zz]|[+-]\d{2}:?\d{2})$"


def components(ref_template: str) -> dict[str, Schema]:
    """Schemas by type name, nested types included; `ref_template` places `{name}` in references."""
    kinds = [Transaction, Verdict, Label]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=ref_template)
    transaction, verdict, label = (schemas[kind.__name__] for kind in kinds)
    _annotate(transaction, fields.TRANSACTION)
    _annotate(verdict, fields.VERDICT)
    _annotate(label, fields.LABEL)
    times = [kind["properties"]["timestamp"] for kind in (transaction, label)]
    for time in (*times, label["properties"]["label_time"]):
        time["anyOf"][0]["pattern"] = _OFFSET_PATTERN
    transaction["examples"] = [
        _as_json(examples.TRANSACTION),
        _as_json(examples.TRANSACTION_REQUIRED_ONLY),
    ]
    verdict["examples"] = [_as_json(examples.VERDICT)]
    label["examples"] = [_as_json(examples.LABEL)]
    return schemas


def transaction_schema() -> Schema:
    """Transaction v1: what upstream services send."""
    schema = components("#/$defs/{name}")["Transaction"]
    return _head("transaction:1") | schema | {"title": "Transaction v1"}


def verdict_schema() -> Schema:
    """Verdict v1: what streamapp answers."""
    schemas = components("#/$defs/{name}")
    messages = ("Transaction", "Verdict", "Label")
    nested = {name: schema for name, schema in schemas.items() if name not in messages}
    return _head("verdict:1") | schemas["Verdict"] | {"title": "Verdict v1", "$defs": nested}


def label_schema() -> Schema:
    """Label v1: what became known of a payment."""
    return _head("label:1") | components("#/$defs/{name}")["Label"] | {"title": "Label v1"}


def _head(name: str) -> Schema:
    return {"$schema": _DIALECT, "$id": f"urn:streamapp:{name}"}


def _annotate(schema: Schema, annotations: fields.Annotations) -> None:
    for name, annotation in annotations.items():
        schema["properties"][name] |= annotation


def _as_json(message: Transaction | Verdict | Label) -> dict[str, Any]:
    """The message as JSON has it, fields that say nothing left out."""
    fields_set = msgspec.to_builtins(message)
    return {name: value for name, value in fields_set.items() if value is not None}
