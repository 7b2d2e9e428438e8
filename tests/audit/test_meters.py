"""Metrics say what the ledger and a process do, through whatever MeterProvider there is; dashboards name no others."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry.gauges import readings
from langgraph_control.audit.telemetry.meter_names import METRICS, Kind
from langgraph_control.audit.telemetry.sinks.following import Following
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from tests.support.collector import collector
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "examples" / "observability" / "dashboard.json"
ALERTS = ROOT / "examples" / "observability" / "alerts.yaml"


def read(store: Store) -> dict[tuple[str, str], float]:
    """Return what gauges say, by metric and label."""
    return {(metric.name, next(iter(of.values()), "")): value for metric, value, of in readings(store)}


@pytest.mark.parametrize("login", ["agent", "auditor"])
def test_gauges_say_how_the_ledger_stands(database: Database, login: str) -> None:
    """Unfinished runs by state and age; of each sink lag, what it lacks and what was given up."""
    store = Store(getattr(database, login))
    with TrailWriter(database) as trail, collector() as place:
        trail.publish()
        trail.release(trail.open(), RunState.NEEDS_APPROVAL, "needs_approval")
        trail.pass_time(hours=2)
        following = Following(store, OtlpSink("tempo", place.url))
        place.status = lambda _: 503
        following.step()
        first = read(store)
        assert first["control.runs", "needs_approval"] == 1
        assert first["control.runs.oldest", "needs_approval"] >= 7200
        assert first["control.export.behind", "tempo"] == 3
        assert first["control.export.lag", "tempo"] >= 7200
        place.status = lambda _: 200
        place.refuses = lambda span: span.name == "policy.loaded"
        following.step()
        following.step()
        now = read(store)
        assert (now["control.export.behind", "tempo"], now["control.export.lag", "tempo"]) == (0, 0)
        assert now["control.export.dead", "tempo"] == 1
        assert ("control.seal.lag", "") not in now
        following.sink.close()
    store.close()


def test_a_process_counts_what_it_does(database: Database) -> None:
    """With a MeterProvider claims, outcomes and unknowns are counted, and what verify found is told."""
    found = told(database, "on")
    tool = {"gen_ai.tool.name": "refund", "control.answer": "go"}
    assert found["control.claims"] == {json.dumps(tool, sort_keys=True): 2}
    assert found["control.outcomes"] == {'{"control.outcome": "succeed"}': 1, '{"control.outcome": "lose"}': 1}
    assert found["control.unknowns"] == {'{"control.outcome": "lose"}': 1}
    assert found["control.verified.tampered"] == {"{}": 0}
    assert found["control.verified.age"].keys() == {"{}"}
    assert found["control.runs"]['{"control.state": "running"}'] == 1


def test_without_a_provider_nothing_is_measured(database: Database) -> None:
    """Where nobody set metrics up, the same program does the same and tells nothing."""
    assert told(database, "off") == {}


def told(database: Database, provider: str) -> dict[str, Any]:
    """Run the program in a process of its own, whose provider nobody else sees."""
    command = [sys.executable, "-m", "tests.support.metered", database.admin, provider]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    read: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return read


def named_in(expression: str) -> set[str]:
    """Return the metrics that a PromQL expression names."""
    return set(re.findall(r"\bcontrol_\w+", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)))


def test_the_dashboard_names_metrics_that_there_are() -> None:
    """Every expression of the dashboard is about our metrics, and every metric is on it."""
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    assert all(panel["title"] and panel["gridPos"] for panel in board["panels"])
    assert set.union(*map(named_in, expressions)) == {metric.prometheus for metric in METRICS}


def test_the_alert_rules_name_metrics_that_there_are() -> None:
    """Every rule is about our metrics, and says how bad it is, what is wrong, and what to do."""
    (group,) = YAML(typ="safe").load(ALERTS.read_text())["groups"]
    known = {metric.prometheus for metric in METRICS}
    for rule in group["rules"]:
        assert named_in(rule["expr"])
        assert named_in(rule["expr"]) <= known
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "description"}
    alerting = set.union(*(named_in(rule["expr"]) for rule in group["rules"]))
    wanted = (metrics.EXPORT_LAG, metrics.EXPORT_DEAD, metrics.SEAL_LAG, metrics.UNKNOWNS)
    pins, verified = (metrics.PIN_LAG, metrics.PIN_FAILURES), (metrics.TAMPERED, metrics.VERIFIED_AGE)
    assert {metric.prometheus for metric in (*wanted, *pins, *verified)} <= alerting


def test_prometheus_names() -> None:
    """Counters end in _total, times say their unit."""
    assert metrics.CLAIMS.prometheus == "control_claims_total"
    assert metrics.EXPORT_LAG.prometheus == "control_export_lag_seconds"
    assert {metric.kind for metric in METRICS} == set(Kind)
