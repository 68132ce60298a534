"""What a PromQL expression asks for: series and labels; and which labels its answer has."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import promql_parser as promql

#: What Prometheus adds to every series it scrapes.
SCRAPED = frozenset({"instance", "job"})

#: Grafana puts its own number here; any does for parsing.
INTERVAL = "$__rate_interval"


@dataclass(frozen=True)
class Asked:
    """One label (None: the series itself) that an expression asks a series for."""

    series: str
    label: str | None


def parsed(expression: str) -> promql.Expr:
    """The expression. Raises ValueError where it is no PromQL."""
    return promql.parse(expression.replace(INTERVAL, "5m"))


def asked(expression: promql.Expr) -> Iterator[Asked]:
    """All that it asks for: series, labels they are chosen by, labels they are gathered by."""
    for one in _nodes(expression):
        if isinstance(one, promql.VectorSelector):
            yield Asked(one.name or "", None)
            yield from (Asked(one.name or "", match.name) for match in one.matchers.matchers)
        elif isinstance(one, promql.AggregateExpr) and one.modifier is not None:
            for label in one.modifier.labels:
                yield from (Asked(series, label) for series in _series(one))


def answer_labels(expression: promql.Expr, labels_of: Mapping[str, Set[str]]) -> Set[str]:
    """Labels that the answer's series can have, given those of each series there is."""
    if isinstance(expression, promql.AggregateExpr):
        by = frozenset(expression.modifier.labels) if expression.modifier else frozenset()
        return by
    if isinstance(expression, promql.VectorSelector):
        return labels_of[expression.name or ""] | SCRAPED
    if isinstance(expression, promql.BinaryExpr):
        return answer_labels(expression.lhs, labels_of)
    if isinstance(expression, promql.Call):
        found = [answer_labels(one, labels_of) for one in expression.args]
        return frozenset().union(*found) - ({"le"} if "quantile" in expression.func.name else set())
    if isinstance(expression, promql.MatrixSelector):
        return answer_labels(expression.vector_selector, labels_of)
    return frozenset()


def _series(expression: promql.Expr) -> set[str]:
    nodes = _nodes(expression)
    return {one.name or "" for one in nodes if isinstance(one, promql.VectorSelector)}


def _nodes(expression: promql.Expr) -> list[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(expression, found.append)
    return found
