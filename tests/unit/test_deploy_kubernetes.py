"""The Kubernetes manifests: valid by its schemas, and true to the roles and settings of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from infra.cli.roles import ROLES
from infra.settings import Settings, reference

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "deploy" / "kubernetes"
NEWEST = kubernetes_validate.latest_version()
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
SLOTTED = {"people", "references", "courses", "completions", "moodle-sink", "moodle-source", "elm-sink"}
"""Roles whose place in a group, transaction or folder is that of a slot, which has one process at a time."""


def read(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]


LISTED: list[str] = read(FOLDER / "kustomization.yaml")[0]["resources"]
MANIFESTS = [document for name in LISTED for document in read(FOLDER / name)]
SECRET = read(FOLDER / "secret.example.yaml")[0]


def of(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Give (name, specification of the pod, its one container) of every workload."""
    for manifest in MANIFESTS:
        if manifest["kind"] in WORKLOADS:
            spec = manifest["spec"]["template"]["spec"]
            [container] = spec["containers"]
            yield manifest["metadata"]["name"], spec, container


PODS = list(pods())
BY_NAME = pytest.mark.parametrize(("name", "spec", "container"), PODS, ids=[name for name, _, _ in PODS])
CONFIG: dict[str, str] = of("ConfigMap")["rosterhub"]["data"]


def roles() -> dict[str, dict[str, Any]]:
    """Give the container of each role, by the role that its command line starts."""
    start = ["python", "-m", "infra.cli.role"]
    lines = {name: (container["command"], container) for name, _, container in PODS}
    return {line[3]: container for line, container in lines.values() if line[:3] == start}


def test_every_file_is_listed_or_an_example() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {*LISTED, "kustomization.yaml", "secret.example.yaml"}


def test_the_manifests_are_valid() -> None:
    for manifest in (*MANIFESTS, SECRET):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_a_manifest_with_a_wrong_field_is_found() -> None:
    wrong = {**of("StatefulSet")["people"], "spec": {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_every_role_has_one_workload_of_its_name() -> None:
    started = {name: container["command"][3] for name, _, container in PODS if name != "setup"}
    assert started == {role: role for role in ROLES}
    assert set(of("StatefulSet")) == SLOTTED


@BY_NAME
def test_a_pod_may_do_nothing_that_it_does_not_need(
    name: str, spec: dict[str, Any], container: dict[str, Any]
) -> None:
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp", "/etc/rosterhub"}
    claimed = {"data"} if name in {"people", "references", "courses", "completions"} else set()
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        one["name"] for one in spec["volumes"]
    } | claimed


@BY_NAME
def test_no_variable_of_a_service_can_be_taken_for_a_setting(
    name: str, spec: dict[str, Any], container: dict[str, Any]
) -> None:
    assert spec["enableServiceLinks"] is False, "the Service api would set API_PORT to an address"


def test_settings_are_known_and_none_that_is_secret_is_in_the_open() -> None:
    known = {name for name, _, _ in reference()}
    own = {entry["name"] for _, _, container in PODS for entry in container.get("env", [])} - {"SLOT"}
    assert {*CONFIG, *SECRET["stringData"], *own} <= known
    secret = {
        name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
    }
    assert not secret & {*CONFIG, *own}
    assert set(SECRET["stringData"]) <= secret
    assert set(SECRET["stringData"].values()) == {""}
    for _, _, container in PODS:
        assert [next(iter(one.values()))["name"] for one in container["envFrom"]] == [
            "rosterhub",
            "rosterhub",
        ]


def test_probes_ask_where_the_role_answers() -> None:
    assert CONFIG["STATUS_HOST"] == "0.0.0.0"
    for role, container in roles().items():
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports.pop("status") == int(CONFIG["STATUS_PORT"])
        assert ports == ({"http": Settings.model_fields["api_port"].default} if role == "api" else {})
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        ready = "http" if role == "api" else "status"
        assert probes == {
            "startup": {"path": "/livez", "port": "status"},
            "liveness": {"path": "/livez", "port": "status"},
            "readiness": {"path": "/readyz", "port": ready},
        }


def test_a_pod_of_a_group_has_a_slot_that_stays() -> None:
    for role in SLOTTED:
        container = roles()[role]
        assert container["command"][4:] == ["--slot", "$(SLOT)"]
        [slot] = container["env"]
        assert slot == {"name": "SLOT", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        assert of("StatefulSet")[role]["spec"]["podManagementPolicy"] == "Parallel"


def test_selectors_mean_the_pods_that_they_are_for() -> None:
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in MANIFESTS
        if one["kind"] in WORKLOADS
    }
    for manifest in (*of("Deployment").values(), *of("StatefulSet").values()):
        assert manifest["spec"]["selector"]["matchLabels"] == labels[manifest["metadata"]["name"]]
    assert of("Service")["api"]["spec"]["selector"] == labels["api"]
    assert of("PodDisruptionBudget")["api"]["spec"]["selector"]["matchLabels"] == labels["api"]
    assert of("NetworkPolicy")["api"]["spec"]["podSelector"]["matchLabels"] == labels["api"]
    assert len({tuple(sorted(one.items())) for one in labels.values()}) == len(labels)


def test_all_run_one_image_of_this_version() -> None:
    assert {container["image"] for _, _, container in PODS} == {f"rosterhub:{version('rosterhub')}"}
