"""The published contract is the code's: no drift, and it accepts what the engine accepts."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamapp.cli.contract import contract
from streamapp.contract import asyncapi, documents, examples, fields, render
from streamapp.contract.json_schema import label_schema, transaction_schema, verdict_schema
from streamapp.domain.dead_letter import DeadLetter, Reason, Rejected
from streamapp.domain.decode import decode, decode_label
from streamapp.domain.label import Label
from streamapp.domain.transaction import Transaction
from streamapp.domain.verdict import Verdict, decode_verdict
from streamapp.engine import partition
from streamapp.kafka.settings import TopicSettings

SNAPSHOTS = Path(__file__).parents[2] / "docs" / "contract"

TRANSACTION_VALIDATOR = jsonschema.Draft202012Validator(transaction_schema())
VERDICT_VALIDATOR = jsonschema.Draft202012Validator(verdict_schema())
LABEL_VALIDATOR = jsonschema.Draft202012Validator(label_schema())
GOOD = {"tx_id": "t1", "user_id": "u1", "amount": 12.5, "timestamp": 1_530_403_509_000}


def _engine_decode(message: dict[str, Any]) -> Transaction | Rejected:
    return decode(str(message["user_id"]).encode(), json.dumps(message).encode())


@pytest.mark.parametrize("name", sorted(documents(TopicSettings())))
def test_snapshot_matches_code(name: str) -> None:
    """A change of the public contract shows in the diff of docs/contract."""
    snapshot = (SNAPSHOTS / name).read_text(encoding="utf-8")
    assert snapshot == render(documents(TopicSettings())[name]), (
        f"docs/contract/{name} differs from the code. If the change is meant (and only adds), "
        "renew it with: make contract"
    )


def test_no_snapshot_without_document() -> None:
    """A document that is no longer made doesn't linger in docs/contract."""
    assert sorted(documents(TopicSettings())) == sorted(p.name for p in SNAPSHOTS.iterdir())


@pytest.mark.parametrize(
    ("kind", "annotations"),
    [(Transaction, fields.TRANSACTION), (Verdict, fields.VERDICT), (Label, fields.LABEL)],
)
def test_every_field_is_described(
    kind: type[msgspec.Struct], annotations: fields.Annotations
) -> None:
    """A field can't join a message without saying what it means, in the order of the code."""
    assert list(kind.__struct_fields__) == list(annotations)


@pytest.mark.parametrize("schema", [transaction_schema(), verdict_schema(), label_schema()])
def test_schemas_are_valid_and_accept_their_examples(schema: dict[str, Any]) -> None:
    """All documents are draft 2020-12 schemas whose examples pass."""
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["examples"]
    for example in schema["examples"]:
        jsonschema.Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("example", transaction_schema()["examples"])
def test_engine_decodes_the_transaction_examples(example: dict[str, Any]) -> None:
    """What the schema shows as an example is a transaction to the engine."""
    outcome = _engine_decode(example)
    assert isinstance(outcome, Transaction), outcome


def test_encoded_verdict_is_valid_and_reads_back() -> None:
    """A verdict as the engine writes it, nulls included, passes the schema and the decoder."""
    payload = msgspec.json.encode(examples.VERDICT)
    VERDICT_VALIDATOR.validate(json.loads(payload))
    assert decode_verdict(payload) == examples.VERDICT


@pytest.mark.parametrize(
    "change",
    [
        {"tx_id": ""},
        {"tx_id": "x" * 129},
        {"user_id": None},
        {"amount": -0.01},
        {"amount": "12"},
        {"amount": 1.1e12},
        {"timestamp": "2018-07-01T00:05:09"},
        {"timestamp": -1},
        {"timestamp": 1.5},
        {"currency": "eur"},
        {"country": "FRA"},
        {"latitude": 90.1},
        {"device_risk_score": 1.01},
    ],
    ids=str,
)
def test_schema_and_engine_refuse_the_same_transactions(change: dict[str, Any]) -> None:
    """A transaction that the decoder refuses is refused by the schema too."""
    bad = GOOD | change
    assert not TRANSACTION_VALIDATOR.is_valid(bad)
    assert isinstance(_engine_decode(bad), Rejected)


@pytest.mark.parametrize("name", ["tx_id", "user_id", "amount", "timestamp"])
def test_required_fields_are_required(name: str) -> None:
    """Without any one of the four required fields it is no transaction."""
    assert not TRANSACTION_VALIDATOR.is_valid({k: v for k, v in GOOD.items() if k != name})


def test_unknown_fields_are_accepted() -> None:
    """Senders may add fields of their own."""
    TRANSACTION_VALIDATOR.validate(GOOD | {"till": 7})


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "URGENT"},
        {"risk_score": 101},
        {"schema_version": 2},
        {"recommended_action": "phone"},
        {"source": {"topic": "transactions"}},
    ],
    ids=str,
)
def test_schema_refuses_what_is_no_verdict(change: dict[str, Any]) -> None:
    """Values outside the closed sets and bounds of verdict v1 are refused."""
    good = json.loads(msgspec.json.encode(examples.VERDICT))
    VERDICT_VALIDATOR.validate(good)
    assert not VERDICT_VALIDATOR.is_valid(good | change)


ids = st.text(max_size=130) | st.none() | st.integers()
numbers = st.floats(-1, 2e12, allow_nan=False) | st.integers(-1, 2) | st.text(max_size=2)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis asks for bounds without zone
    timezones=st.just(UTC) | st.none(),
)
candidates = st.fixed_dictionaries(
    {
        "tx_id": ids,
        "user_id": ids,
        "amount": numbers,
        "timestamp": times.map(datetime.isoformat) | st.integers(-1, 253_402_300_800_000),
    },
    optional={
        "currency": st.sampled_from(["EUR", "EURO", "eur", "", None]),
        "latitude": st.floats(-91, 91),
        "ip_risk_score": st.floats(-0.1, 1.1),
        "channel": st.text(max_size=129) | st.none(),
    },
)


@given(candidates)
def test_schema_and_engine_agree(candidate: dict[str, Any]) -> None:
    """Whatever the decoder takes the schema accepts; whatever it refuses the schema refuses."""
    outcome = _engine_decode(candidate)
    assert isinstance(outcome, Transaction) == TRANSACTION_VALIDATOR.is_valid(candidate), outcome


label_candidates = st.fixed_dictionaries(
    {
        "tx_id": ids,
        "user_id": ids,
        "is_fraud": st.booleans() | st.integers(0, 1) | st.none(),
        "timestamp": times.map(datetime.isoformat) | st.integers(-1, 253_402_300_800_000),
        "label_time": times.map(datetime.isoformat) | st.none(),
    },
    optional={"merchant_id": st.text(max_size=129) | st.none()},
)


@given(label_candidates)
def test_schema_and_decoder_agree_on_labels(candidate: dict[str, Any]) -> None:
    """Whatever the decoder takes the schema accepts; whatever it refuses the schema refuses."""
    outcome = decode_label(str(candidate["user_id"]).encode(), json.dumps(candidate).encode())
    assert isinstance(outcome, Label) == LABEL_VALIDATOR.is_valid(candidate), outcome


def test_dead_letter_headers_are_those_the_engine_writes() -> None:
    """AsyncAPI names exactly the headers a dead letter carries, and each satisfies its rule."""
    letter = DeadLetter(
        Rejected(Reason.OUT_OF_RANGE, "amount", "decode", "expected at least 0"),
        topic="transactions",
        partition=3,
        offset=812,
        key=b"u1",
        value=b"{}",
    )
    declared = asyncapi(TopicSettings())["components"]["messages"]["DeadLetter"]["headers"]
    headers = {name: value.decode() for name, value in letter.headers()}
    assert list(declared["properties"]) == list(headers)
    jsonschema.Draft202012Validator(declared).validate(headers)


def test_verdict_headers_are_those_the_engine_writes() -> None:
    """AsyncAPI names exactly the headers a verdict can carry, and each satisfies its rule."""
    declared = asyncapi(TopicSettings())["components"]["messages"]["Verdict"]["headers"]
    headers = {name: value.decode() for name, value in partition._HEADERS[-1]}
    assert declared["required"] == list(headers)
    assert set(declared["properties"]) == {*headers, *partition.CARRIED_HEADERS}
    jsonschema.Draft202012Validator(declared).validate(headers)


def test_asyncapi_follows_topic_settings() -> None:
    """Channel addresses are the topic names in force, prefix included."""
    topics = TopicSettings(prefix="eu.", partitions=12)
    channels = asyncapi(topics)["channels"]
    assert channels["dead_letters"]["address"] == "eu.transactions.dlq"
    assert channels["verdicts"]["bindings"]["kafka"]["partitions"] == 12


def test_asyncapi_references_resolve() -> None:
    """Every $ref in the document points at something in it."""
    document = asyncapi(TopicSettings())
    references = list(_references(document))
    assert references
    for reference in references:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _cli() -> typer.Typer:
    app = typer.Typer()
    app.command()(contract)
    return app


def test_command_writes_the_snapshots(tmp_path: Path) -> None:
    """`streamapp contract --write DIR` gives the published files."""
    outcome = CliRunner().invoke(_cli(), ["--write", str(tmp_path / "new")])
    assert outcome.exit_code == 0, outcome.output
    written = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "new").iterdir()}
    published = {p.name: p.read_text(encoding="utf-8") for p in SNAPSHOTS.iterdir()}
    assert published == written


def test_command_shows_the_asyncapi_document() -> None:
    """Without --write the AsyncAPI document goes to standard output, ready for a pipe."""
    outcome = CliRunner().invoke(_cli(), [])
    assert json.loads(outcome.stdout) == asyncapi(TopicSettings())
