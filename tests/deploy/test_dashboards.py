"""Prometheus and Grafana look at metrics, services and ports that exist."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

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


def _metrics() -> set[str]:
    """Names of all series our processes can have."""
    for module in _MODULES:
        importlib.import_module(module)
    names = set()
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


@pytest.mark.parametrize(("place", "query"), sorted(_queries().items()))
def test_queries_use_metrics_that_exist(place: str, query: str) -> None:
    """A renamed metric breaks this test, not the dashboard of whoever is on call."""
    used = set(re.findall(r"\bstreamapp_\w+", query))
    assert used or "up" in query
    assert set() == used - _metrics()


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
