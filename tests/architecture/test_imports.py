"""Import rules: schemas <- infra <- producers | processors | connectors; only infra.cli sees them all."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.engine.config import producer_settings
from infra.producing import SAFE
from infra.settings import KafkaConfig
from tests.integration.engine_support import engine_config

ROOT = Path(__file__).resolve().parents[2]
OURS = {"schemas", "infra", "producers", "processors", "connectors"}
MAY_IMPORT = {
    "schemas": {"schemas"},
    "infra": {"schemas", "infra"},
    "producers": {"schemas", "infra", "producers"},
    "processors": {"schemas", "infra", "processors"},
    "connectors": {"schemas", "infra", "connectors"},
}
COMPOSITION_ROOT = "infra.cli"


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that ``path`` imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(module: str, names: Iterator[str]) -> list[str]:
    """Return which of the imported ``names`` the module ``module`` may not import."""
    if module.startswith(COMPOSITION_ROOT + "."):
        return []
    allowed = MAY_IMPORT[module.split(".")[0]]
    return [
        name
        for name in names
        if (name.split(".")[0] in OURS and name.split(".")[0] not in allowed)
        or name == COMPOSITION_ROOT
        or name.startswith((COMPOSITION_ROOT + ".", "tests"))
    ]


def modules() -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, path) of every module of ours."""
    for package in sorted(OURS):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def test_every_import_follows_the_layers() -> None:
    wrong = {module: found for module, path in modules() if (found := violations(module, imported(path)))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        ("schemas.ids", "infra.codec", True),
        ("infra.codec", "producers.intake", True),
        ("infra.codec", "schemas.topics", False),
        ("producers.relay", "connectors.moodle.client", True),
        ("processors.people", "infra.cli.main", True),
        ("infra.cli.main", "producers.relay", False),
        ("infra.clients", "infra.cli.main", True),
        ("connectors.elm_sink.sink", "tests.conftest", True),
    ],
)
def test_the_rule_tells_right_from_wrong(module: str, name: str, wrong: bool) -> None:
    assert bool(violations(module, iter([name]))) is wrong


def test_no_module_shadows_a_well_known_name() -> None:
    assert [str(path) for _, path in modules() if path.name in {"logging.py", "http.py", "types.py"}] == []


def test_every_producer_is_set_to_lose_nothing() -> None:
    producing = {
        module: set(found)
        for module, path in modules()
        if "confluent_kafka.Producer" in (found := list(imported(path)))
    }
    # The engine's transactions get theirs from the settings of the engine.
    engine = producing.pop("infra.engine.transactions")
    assert "infra.engine.config.producer_settings" in engine
    assert {module for module, names in producing.items() if "infra.producing.SAFE" not in names} == set()


def test_settings_cannot_undo_what_producers_are_set_to(tmp_path: Path) -> None:
    kafka: KafkaConfig = {"bootstrap.servers": "k:1", "max.in.flight.requests.per.connection": 5, "acks": "1"}
    config = engine_config("k:1", "http://r", "", tmp_path)
    settings = producer_settings(replace(config, kafka=kafka), "stage")
    assert settings.items() >= SAFE.items()
