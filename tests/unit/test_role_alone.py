"""A role as another supervisor starts it: what it needs, where its status is served, how it ends."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request

import pytest

from infra.cli.needs import lacking
from infra.cli.role import main
from infra.settings import Settings, reference
from infra.telemetry import Status, serve_status

SERVICES = ["KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL"]


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("people", SERVICES),
        ("api", ["DATABASE_URL"]),
        ("elm-poll", [*SERVICES, "ELM_API_URL"]),
        ("moodle-sink", [*SERVICES, "MOODLE_URL"]),
    ],
)
def test_a_role_names_what_it_lacks(role: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, _ in reference():
        monkeypatch.delenv(name, raising=False)
    assert lacking(Settings(), role) == names


@pytest.mark.parametrize(
    ("env", "told"), [({}, "not set: KAFKA_BOOTSTRAP_SERVERS"), ({"STATUS_PORT": "no"}, "STATUS_PORT: ")]
)
def test_a_role_without_its_settings_ends_with_status_2(
    env: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, _, _ in reference():
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["role", "people"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert told in capsys.readouterr().err


def outward_address() -> str:
    """Give an address of this machine that others know it by; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback one")
        return str(asked.getsockname()[0])


def test_probes_are_answered_to_everybody_but_a_pause_only_to_the_machine_itself() -> None:
    status = Status("people")
    status.ready()
    with serve_status(status, host="0.0.0.0") as port:
        address = f"http://{outward_address()}:{port}"
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(urllib.request.Request(f"{address}/pause", method="POST"), timeout=5)
        refused.value.close()
        assert not status.paused.is_set()
        own = urllib.request.Request(f"http://127.0.0.1:{port}/pause", method="POST")
        urllib.request.urlopen(own, timeout=5).close()
        assert status.paused.is_set()
