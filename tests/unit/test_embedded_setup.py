"""What can be said of the embedded services without starting one."""

from __future__ import annotations

import json
import re
import socket
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.embedded import jars, kafka, services
from infra.embedded.commands import dev
from infra.embedded.errors import EmbeddedError
from infra.embedded.kafka import Node
from infra.embedded.process import Place, State
from tests import services as test_services

COMPOSE = Path("infra/deploy/compose.yaml")


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def node(tmp_path: Path, size: int) -> Node:
    controllers = {number: 21000 + number for number in range(1, size + 1)}
    return Node(Place("kafka", tmp_path), 1, 20001, controllers, kafka.new_cluster_id())


class TestJars:
    def test_are_fetched_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "bin", "java", "exit 0")
        program(tmp_path / "bin", "mvn", f"echo called >> {tmp_path}/calls")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        jars.ensure(tmp_path / "jars")
        jars.ensure(tmp_path / "jars")
        assert (tmp_path / "calls").read_text() == "called\n"
        assert jars.locate(tmp_path) == tmp_path / "jars"

    def test_are_fetched_again_when_they_belong_to_another_pom(self, tmp_path: Path) -> None:
        (tmp_path / ".complete").write_text("other")
        assert not jars.is_complete(tmp_path)

    def test_missing_maven_is_one_clear_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "bin", "java", "exit 0")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(EmbeddedError, match=r"^Maven is needed .* put 'mvn' on the PATH$"):
            jars.ensure(tmp_path / "jars")
        assert not jars.is_complete(tmp_path / "jars")

    def test_a_failing_maven_names_its_log(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "bin", "java", "exit 0")
        program(tmp_path / "bin", "mvn", "echo no such artifact; exit 1")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        with pytest.raises(EmbeddedError, match=r"read .*maven\.log$"):
            jars.ensure(tmp_path / "jars")
        assert "no such artifact" in (tmp_path / "jars" / "maven.log").read_text()
        assert not jars.is_complete(tmp_path / "jars")


class TestKafkaSettings:
    def test_one_node_replicates_nothing(self, tmp_path: Path) -> None:
        settings = kafka.properties(node(tmp_path, 1))
        assert settings["controller.quorum.voters"] == "1@127.0.0.1:21001"
        assert {value for name, value in settings.items() if name.endswith("replication.factor")} == {"1"}

    def test_three_nodes_keep_going_without_one(self, tmp_path: Path) -> None:
        settings = kafka.properties(node(tmp_path, 3))
        assert {value for name, value in settings.items() if name.endswith("replication.factor")} == {"3"}
        assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"

    def test_everything_listens_on_the_loopback_address(self, tmp_path: Path) -> None:
        assert (
            re.findall(r"//([^:]*):", kafka.properties(node(tmp_path, 3))["listeners"]) == ["127.0.0.1"] * 2
        )

    def test_a_cluster_id_is_kept(self, tmp_path: Path) -> None:
        place = Place("kafka", tmp_path)
        assert kafka.single(place, 1, 2).cluster_id == kafka.single(place, 1, 2).cluster_id


class TestDataFolder:
    def test_nothing_runs_in_a_folder_never_used(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing"
        assert services.load(missing) is None
        assert [entry.state for entry in services.status(missing)] == [State.STOPPED] * 3
        services.down(missing)
        services.reset(missing)
        assert not missing.exists()

    def test_addresses_of_ended_services_are_not_given_out(self, tmp_path: Path) -> None:
        (tmp_path / "services.json").write_text(json.dumps({"kafka_bootstrap_servers": "127.0.0.1:1"}))
        assert services.load(tmp_path) is None

    def test_an_unknown_service_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EmbeddedError, match="no service called zookeeper"):
            services.up(tmp_path, only=frozenset({"zookeeper"}))

    def test_a_wanted_port_in_use_starts_nothing(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(EmbeddedError, match=f"port {port} for postgres is in use"):
                services.up(tmp_path, wanted_ports={"postgres": port})
        assert {entry.state for entry in services.status(tmp_path)} == {State.STOPPED}

    def test_reset_removes_all_but_the_jars(self, tmp_path: Path) -> None:
        for name in ("jars", "kafka", "state"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").touch()
        (tmp_path / "ports.json").write_text("{}")
        services.reset(tmp_path)
        assert list(tmp_path.rglob("*")) == [tmp_path / "jars", tmp_path / "jars" / "file"]

    def test_reset_leaves_a_foreign_folder_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").touch()
        with pytest.raises(EmbeddedError, match="not a data folder of the hub"):
            services.reset(tmp_path)
        assert (tmp_path / "thesis.txt").exists()


class TestCommands:
    def test_status_as_json(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(dev, ["status", "--data", str(tmp_path), "--json"])
        assert result.exit_code == 0
        names = [(entry["name"], entry["state"]) for entry in json.loads(result.stdout)]
        assert names == [("kafka", "stopped"), ("registry", "stopped"), ("postgres", "stopped")]

    def test_a_failure_is_one_line_on_standard_error(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").touch()
        result = CliRunner().invoke(dev, ["reset", "--data", str(tmp_path)])
        assert result.exit_code == 1
        assert result.stderr == f"{tmp_path} is not a data folder of the hub: nothing was removed\n"


def test_containers_have_the_versions_of_the_embedded_services() -> None:
    pom = ET.fromstring(jars.POM.read_text())
    space = "{http://maven.apache.org/POM/4.0.0}"
    kafka_version, registry_version = (
        pom.findtext(f"{space}properties/{space}{name}.version") for name in ("kafka", "registry")
    )
    images = re.findall(r"image: (\S+):(\S+)", COMPOSE.read_text())
    fixtures = (test_services.KAFKA_IMAGE, test_services.REGISTRY_IMAGE, test_services.POSTGRES_IMAGE)
    for versions in (dict(images), dict(image.split(":") for image in fixtures)):
        assert {name.split("-")[0]: version for name, version in versions.items()} == {
            "apache/kafka": kafka_version,
            "apicurio/apicurio": registry_version,
            "postgres": "18",
        }
