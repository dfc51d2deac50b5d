"""systemd units, compose files and the image: what they start exists, and what they set are settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cli.main import COMMANDS
from infra.cli.roles import ROLES
from infra.settings import reference

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "infra" / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KNOWN = {name for name, _, _ in reference()}
IMAGE = f"rosterhub:{version('rosterhub')}"


def lines(unit: Path, key: str) -> list[str]:
    """Give the values of a key of a unit, in their order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def names_set(text: str) -> set[str]:
    """Give the variables that lines ``NAME=value`` set, those that are commented out included."""
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text("utf-8"))
    return found


def test_a_unit_starts_what_there_is() -> None:
    started = {unit.name: lines(unit, "ExecStart")[0].split() for unit in UNITS}
    folder = "/opt/rosterhub/.venv/bin"
    assert started == {
        "rosterhub-setup.service": [f"{folder}/hub", "setup"],
        "rosterhub@.service": [f"{folder}/python", "-m", "infra.cli.role", "%i", "--slot", "%H"],
    }
    assert "setup" in COMMANDS
    assert [point.value for point in entry_points(group="console_scripts", name="hub")] == [
        "infra.cli.main:main"
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_sets_what_are_settings_and_reads_the_same_files(unit: Path) -> None:
    pairs = " ".join(lines(unit, "Environment")).split()
    assert {pair.partition("=")[0] for pair in pairs} <= KNOWN
    assert "DATA_DIR=/var/lib/rosterhub" in pairs
    assert lines(unit, "EnvironmentFile")[0] == "/etc/rosterhub/hub.env"
    assert lines(unit, "StateDirectory") == ["rosterhub"]
    assert lines(unit, "User") == ["rosterhub"]


def test_what_a_person_has_to_mend_is_not_started_again_and_everything_else_is() -> None:
    role, setup = DEPLOY / "systemd/rosterhub@.service", DEPLOY / "systemd/rosterhub-setup.service"
    assert (lines(role, "Restart"), lines(role, "RestartPreventExitStatus")) == (["always"], ["2 3"])
    assert (lines(setup, "Restart"), lines(setup, "RestartPreventExitStatus")) == (["on-failure"], ["1 2 3"])
    for unit in UNITS:
        assert lines(unit, "StartLimitIntervalSec") == ["0"], "an outage of any length is waited out"


def test_the_example_of_the_environment_holds_settings_and_no_secret() -> None:
    text = (DEPLOY / "systemd/hub.env.example").read_text("utf-8")
    assert names_set(text) <= KNOWN
    assert [line for line in text.splitlines() if re.match(r".*(PASSWORD|TOKEN|SECRET)=.", line)] == []


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here; the other tests read the units by themselves")
    # It looks for the programs as well: here they are elsewhere.
    tools = str(Path(sys.executable).parent)
    for path in (DEPLOY / "systemd").glob("rosterhub*"):
        name = path.name.replace("@.", "@people.")
        text = path.read_text("utf-8").replace("/opt/rosterhub/.venv/bin", tools)
        (tmp_path / name).write_text(text, "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_compose_starts_every_role_once_beside_the_services() -> None:
    services = compose("compose.hub.yaml")["services"]
    base = compose("compose.yaml")["services"]
    assert set(services) - set(base) == {*ROLES, "setup"}
    for role in ROLES:
        assert services[role]["command"] == ["python", "-m", "infra.cli.role", role]
        assert services[role]["image"] == IMAGE
        assert services[role]["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}
    assert "hub setup" in services["setup"]["command"][-1]


def test_compose_sets_what_are_settings_and_reaches_the_services() -> None:
    hub, base = compose("compose.hub.yaml"), compose("compose.yaml")
    settings = hub["services"]["api"]["environment"]
    assert set(settings) <= KNOWN
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL"):
        [host] = set(re.findall(r"\b(kafka|registry|postgres)(?=:\d)", settings[name]))
        assert host in base["services"]
    inside = hub["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{settings['KAFKA_BOOTSTRAP_SERVERS']}" in inside.split(",")
    [probe] = re.findall(r"127\.0\.0\.1:(\d+)/livez", hub["services"]["people"]["healthcheck"]["test"][-1])
    assert probe == settings["STATUS_PORT"]


def test_the_image_holds_the_packages_and_runs_a_command_of_the_hub() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = [words for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for words in line.split()[:-1]]
    packages = {"schemas", "infra", "producers", "processors", "connectors"}
    assert set(copied) == packages | {"requirements.lock", "pyproject.toml", "README.md"}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert 'CMD ["hub", "run"]' in text
    assert "run" in COMMANDS
    assert set(re.findall(r"\b(DATA_DIR|LOG_FORMAT)=", text)) <= KNOWN


def test_the_page_has_every_role_enabled() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    enabled = re.findall(r"^systemctl enable rosterhub@\{(.*)\}\.service$", page, re.MULTILINE)
    assert sorted(",".join(enabled).split(",")) == sorted(ROLES)
