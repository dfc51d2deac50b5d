"""The list of metrics, and that the shipped rules and the dashboard use what is in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from infra.metrics import METRICS, Kind

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "infra/deploy/prometheus/rules.yml"
RULES_TEST = ROOT / "infra/deploy/prometheus/rules_test.yml"
CONFIG = ROOT / "infra/deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "infra/deploy/grafana/rosterhub.json"
TARGET_LABELS = {"job", "instance", "process", "slot"}
"""Of Prometheus itself and of the file that `hub run` writes."""
OF_THE_CLIENT = {
    "up",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}
PERSONAL = {"person", "email", "name", "username", "user", "course", "entity", "record"}


def series() -> dict[str, set[str]]:
    """Return the labels of every series that the hub shows, by its name."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            found[f"{metric.name}_bucket"] = {*metric.labels, "le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = set(metric.labels)
        else:
            found[metric.name] = set(metric.labels)
    return found


def misused(expression: str) -> list[str]:
    """Return what ``expression`` names that the hub does not show."""
    known = series() | {name: set[str]() for name in OF_THE_CLIENT}
    names = set(re.findall(r"\b(?:up|hub_\w+|process_\w+)\b", expression))
    wrong = sorted(names - known.keys())
    labels = set(TARGET_LABELS).union(*(known.get(name, set()) for name in names))
    for grouping in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
        wrong += sorted(set(re.findall(r"\w+", grouping)) - labels)
    for name, chosen in re.findall(r"(\w+)\{([^}]*)\}", expression):
        wrong += sorted(set(re.findall(r"(\w+)\s*[=!]", chosen)) - known.get(name, set()) - TARGET_LABELS)
    return wrong


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from group["rules"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_of_the_process_is_in_the_list() -> None:
    listed = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    shown = {family.name for family in REGISTRY.collect() if family.name.startswith("hub_")}
    assert shown <= listed.keys()
    assert len(listed) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_told_of_in_full_and_names_nobody(metric: Any) -> None:
    assert metric.about
    assert metric.unit
    assert metric.shown_by
    assert not PERSONAL & set(metric.labels)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    unit = "Unix time" if metric.name.endswith("_timestamp_seconds") else "seconds"
    assert metric.name.endswith("_seconds") == (metric.unit == unit)


def test_rules_and_dashboard_use_what_the_hub_shows() -> None:
    found = list(expressions())
    assert len(found) > 50
    assert {one: wrong for one in found if (wrong := misused(one))} == {}


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("hub_alarm == 1", []),
        ('up{job="rosterhub"} == 0', []),
        ("hub_alarms == 1", ["hub_alarms"]),
        ('hub_calls_total{kode="ok"} > 0', ["kode"]),
        ("sum by (role, colour) (hub_alarm)", ["colour"]),
        (
            "histogram_quantile(0.95, sum by (le) (rate(hub_change_seconds[5m])))",
            ["hub_change_seconds", "le"],
        ),
    ],
)
def test_the_check_tells_right_from_wrong(expression: str, wrong: list[str]) -> None:
    assert misused(expression) == wrong


def test_every_alert_tells_what_to_do() -> None:
    found, headings = list(rules()), anchors(ROOT / "docs/runbook.md")
    names = [rule["alert"] for rule in found]
    assert len(set(names)) == len(names)
    for rule in found:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor) == ("docs/runbook.md", rule["alert"].lower())
        assert anchor in headings, rule["alert"]
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
        assert used <= TARGET_LABELS.union(*series().values()), rule["alert"]


def test_panels_of_the_dashboard_stand_beside_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


@pytest.mark.parametrize(
    "arguments",
    [["check", "rules", str(RULES)], ["check", "config", str(CONFIG)], ["test", "rules", str(RULES_TEST)]],
)
def test_promtool_finds_no_fault(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH")
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
