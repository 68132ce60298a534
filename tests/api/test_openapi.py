"""The published document is what the code answers."""

import json
from pathlib import Path

import jsonschema

from streamapp.cli.api import document

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_document_is_published() -> None:
    """A change of the HTTP surface is seen in review."""
    assert FILE.read_text("utf-8") == document() + "\n", "renew it with: make openapi"


def test_document_says_what_each_route_takes() -> None:
    """Every operation names its scope and its denials; every reference leads somewhere."""
    made = json.loads(document())
    assert "3.1.0" == made["openapi"]
    for operations in made["paths"].values():
        for operation in operations.values():
            scope = operation["x-streamapp-scope"]
            assert (scope == "public") == (operation["security"] == [])
            if scope != "public":
                assert {"401", "403", "429"} <= set(operation["responses"])
    for name in _references(made):
        assert name in made["components"]["schemas"]
    for schema in made["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def _references(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_references, value))
    if isinstance(value, dict):
        own = (
            {str(value["$ref"]).rpartition("/")[2]} if isinstance(value.get("$ref"), str) else set()
        )
        return own.union(*map(_references, value.values()))
    return set()
