"""Prometheus and Grafana look at metrics, services and ports that exist."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from tests.deploy.promql import SCRAPED, Asked, answer_labels, asked, parsed

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text("utf-8"))
DASHBOARD: dict[str, Any] = json.loads(
    (DEPLOY / "grafana" / "dashboards" / "streamapp.json").read_text("utf-8")
)
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text("utf-8"))


#: One for each kind of process: all that it can show is declared there.
_MODULES = ("streamapp.engine.metrics", "streamapp.sinks.metrics", "streamapp.api.metrics")


def _queries() -> dict[str, str]:
    panels = {
        f"panel {panel['title']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    alerts = {
        f"alert {rule['alert']}": rule["expr"]
        for group in RULES["groups"]
        for rule in group["rules"]
    }
    return panels | alerts


def _labels() -> dict[str, frozenset[str]]:
    """All series our processes can have, each with the labels of its own."""
    labels = {"up": frozenset[str]()}
    for name in _MODULES:
        for metric in vars(importlib.import_module(name)).values():
            if isinstance(metric, Gauge | Counter | Histogram):
                own = frozenset(metric._labelnames)
                [family] = metric.describe()
                suffixes = {"counter": ["_total"], "histogram": ["_sum", "_count"]}
                for suffix in suffixes.get(family.type, [""]):
                    labels[family.name + suffix] = own
                if family.type == "histogram":
                    labels[f"{family.name}_bucket"] = own | {"le"}
    return labels


LABELS = _labels()


@pytest.mark.parametrize(("place", "query"), sorted(_queries().items()))
def test_queries_ask_for_what_exists(place: str, query: str) -> None:
    """A renamed metric or label breaks this test, not the dashboard of whoever is on call."""
    wanted = set(asked(parsed(query)))
    assert wanted
    assert [] == [one for one in wanted if not _is_there(one)]


def _is_there(one: Asked) -> bool:
    if one.series not in LABELS:
        return False
    return one.label is None or one.label in LABELS[one.series] | SCRAPED


@pytest.mark.parametrize(
    "query",
    [
        "sum(streamapp_redy)",
        'streamapp_lag_records{particion="0"}',
        "sum by (reson) (streamapp_dead_letters_total)",
        "sum by (le) (streamapp_batch_seconds_count)",
    ],
)
def test_what_is_not_there_is_found(query: str) -> None:
    """Misspelt series and labels, and one that only another series of the metric has."""
    assert [one for one in asked(parsed(query)) if not _is_there(one)]


def test_texts_name_labels_of_their_answers() -> None:
    """An alert's text and a panel's legend fill in only what the query's answer has."""
    texts = [
        (rule["expr"], rule["annotations"]["summary"], r"\$labels\.(\w+)")
        for group in RULES["groups"]
        for rule in group["rules"]
    ]
    texts += [
        (target["expr"], target["legendFormat"], r"{{\s*(\w+)\s*}}")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    named = [(query, set(re.findall(pattern, text))) for query, text, pattern in texts]
    assert sum(bool(labels) for _, labels in named) > 15
    for query, labels in named:
        assert set() == labels - answer_labels(parsed(query), LABELS), query


def test_every_alert_has_a_runbook() -> None:
    """Who is woken finds what to do, under the address that the alert carries."""
    runbook = (DEPLOY.parent / "docs" / "runbook.md").read_text("utf-8")
    sections = re.findall(r"^## (\w+)$", runbook, re.MULTILINE)
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert sorted(sections) == sorted(rule["alert"] for rule in rules)
    for rule in rules:
        link = f"docs/runbook.md#{rule['alert'].lower()}"
        assert link == rule["annotations"]["runbook_url"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_panels_use_the_provisioned_datasource() -> None:
    """Every panel reads from the one datasource that provisioning makes."""
    source = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8")
    )["datasources"][0]
    assert {source["uid"]} == {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}


def test_scrape_targets_are_services() -> None:
    """Each scraped name is a service of the compose file."""
    targets = set()
    for job in PROMETHEUS["scrape_configs"]:
        for discovery in job.get("dns_sd_configs", []):
            targets |= set(discovery["names"])
        for static in job.get("static_configs", []):
            targets |= {target.partition(":")[0] for target in static["targets"]}
    assert targets
    assert set() == targets - set(COMPOSE["services"])


def test_rule_files_exist() -> None:
    """Prometheus starts only if its rule files are there."""
    assert PROMETHEUS["rule_files"]
    for name in PROMETHEUS["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
