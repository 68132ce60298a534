"""Alert rules before Prometheus's own `promtool`: valid, firing for their cause, then resting."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_dashboards import DEPLOY, RULES

PROMETHEUS = DEPLOY / "prometheus"

#: In every case the cause lasts from the beginning to minute 40; by these minutes its alert fires
#: and has come to rest.
FIRES_AT, RESTS_AT = "38m", "75m"


def _gauge(ill: float, well: float) -> str:
    return f"{ill}+0x40 {well}+0x40"


def _counter(ill_a_minute: float, well_a_minute: float) -> str:
    return f"0+{ill_a_minute}x40 {40 * ill_a_minute}+{well_a_minute}x40"


#: The series that are the cause of each alert, and of no other.
CAUSES: dict[str, dict[str, str]] = {
    "ProcessDown": {'up{job="worker", instance="w1"}': _gauge(0, 1)},
    "NoWorkerReady": {'streamapp_ready{instance="w1"}': _gauge(0, 1)},
    "ScoringFallsBehind": {
        'streamapp_lag_records{partition="0"}': f"200000+6000x40 {_gauge(10, 10)}"
    },
    "ScoringLate": {'streamapp_lag_seconds{partition="0"}': _gauge(61, 1)},
    "TransactionsAborted": {
        'streamapp_transactions_aborted_total{reason="unfinished"}': _counter(1, 0)
    },
    "ModelOld": {"streamapp_model_written_timestamp_seconds": _gauge(-91 * 86_400, 0)},
    "ManyDeadLetters": {
        'streamapp_dead_letters_total{reason="not_json"}': _counter(20, 1),
        'streamapp_transactions_total{partition="0"}': _counter(1000, 1000),
    },
    "HalfSpaceTreesMisled": {'streamapp_half_space_order{partition="0"}': _gauge(0.5, 0.95)},
    "SeverityCutoffsOld": {
        'streamapp_stream_time_seconds{partition="0"}': _gauge(25_201, 25_201),
        'streamapp_severity_cutoffs_hour_timestamp_seconds{partition="0"}': _gauge(3_600, 25_200),
    },
    "SinkAway": {'streamapp_sink_available{sink="redis"}': _gauge(0, 1)},
    "SinkFallsBehind": {'streamapp_sink_lag_records{sink="redis"}': _gauge(1e6 + 1, 0)},
    "PartitionStopped": {
        'streamapp_partition_stopped{partition="0", reason="changelog"}': _gauge(1, 0)
    },
    "VerdictsSlow": {
        'streamapp_api_verdict_seconds_bucket{le="2"}': _counter(98, 100),
        'streamapp_api_verdict_seconds_bucket{le="5"}': _counter(100, 100),
        'streamapp_api_verdict_seconds_bucket{le="+Inf"}': _counter(100, 100),
    },
    "ApiReadsNoVerdicts": {'streamapp_api_feed_live{instance="a1"}': _gauge(0, 1)},
    "ApiFails": {
        'streamapp_api_requests_total{status="503"}': _counter(2, 0),
        'streamapp_api_requests_total{status="200"}': _counter(98, 98),
    },
    "ScoresUnanswered": {"streamapp_api_score_timeouts_total": _counter(90, 30)},
}


def _case(alert: str, series: dict[str, str]) -> dict[str, Any]:
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    sample = {"labels": f'{{alertname="{alert}"}}', "value": 1}
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": FIRES_AT, "exp_samples": [sample]},
            {"expr": firing, "eval_time": RESTS_AT, "exp_samples": []},
        ],
    }


def _promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    assert tool, "promtool is not installed: run make test-servers"
    return subprocess.run([tool, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.integration
def test_prometheus_takes_the_files() -> None:
    """Configuration and rules, every annotation's template among them."""
    for words in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        outcome = _promtool("check", words[0], PROMETHEUS / words[1])
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.integration
def test_alerts_fire_and_rest(tmp_path: Path) -> None:
    """Each alert fires for its cause, alone, and rests when the cause is gone."""
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}
    assert alerts == set(CAUSES)
    outcome = _tested(tmp_path, [_case(alert, series) for alert, series in CAUSES.items()])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.integration
def test_an_alert_that_rests_fails_the_test(tmp_path: Path) -> None:
    """What is expected to fire and does not is found."""
    well = {"SinkAway": {'streamapp_sink_available{sink="redis"}': _gauge(1, 1)}}
    outcome = _tested(tmp_path, [_case(alert, series) for alert, series in well.items()])
    assert outcome.returncode == 1
    assert "SinkAway" in outcome.stdout + outcome.stderr


def _tested(directory: Path, cases: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    document = {
        "rule_files": [str(PROMETHEUS / "rules.yml")],
        "evaluation_interval": "1m",
        "tests": cases,
    }
    file = directory / "cases.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return _promtool("test", "rules", file)
