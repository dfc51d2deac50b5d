"""No personal data and no secret goes into logs, errors or metrics, as far as the code shows it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_imports import ROOT, modules

PERSONAL = {"email", "first_name", "last_name", "username", "firstname", "lastname", "fullname"}
SECRET = {"token", "password", "sasl_password", "user_info", "database_url"}
LOGGERS = {"log", "_log", "_LOG", "logger"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
SIMULATED = ("infra.simulators.", "infra.embedded.")


def leaks(tree: ast.AST) -> list[tuple[int, str]]:
    """Return (line, name) of every forbidden name inside a log call, a raised error, or a metric's label."""
    found = []
    for node in ast.walk(tree):
        if is_log_call(node) or isinstance(node, ast.Raise) or is_label(node):
            found += [(name.lineno, text) for name, text in names(node) if text in PERSONAL | SECRET]
    return found


def is_log_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    return node.func.attr in LEVELS and isinstance(owner, ast.Name) and owner.id in LOGGERS


def is_label(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "labels"


def names(node: ast.AST) -> Iterator[tuple[ast.expr | ast.keyword, str]]:
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            yield part, part.attr
        elif isinstance(part, ast.Name):
            yield part, part.id
        elif isinstance(part, ast.keyword) and part.arg:
            yield part, part.arg


def test_no_module_logs_or_raises_personal_data() -> None:
    found = {
        module: leaked
        for module, path in modules()
        if not module.startswith(SIMULATED) and (leaked := leaks(ast.parse(path.read_text("utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "log.info('user_created', email=wish.email)",
        "_LOG.warning('x', who=person.first_name)",
        "raise HubError(f'no account for {wish.email}')",
        "CALLS.labels(role, username).inc()",
        "log.error('refused', detail=settings.token)",
    ],
)
def test_the_rule_finds_a_leak(code: str) -> None:
    assert leaks(ast.parse(code))


def test_the_rule_lets_ids_and_counts_pass() -> None:
    assert leaks(ast.parse("log.info('user_created', person=wish.person_id, records=len(batch))")) == []


def test_no_machine_path_registry_address_or_shared_folder_is_in_the_project() -> None:
    forbidden = [
        "/" + "work/",
        "/" + "root/",
        "pypi" + ".org",
        "repo1" + ".maven",
        "registry.npmjs" + ".org",
        "../" + "shared",
    ]
    tracked = [path for path in ROOT.rglob("*") if path.is_file() and is_ours(path)]
    found = [
        (str(path.relative_to(ROOT)), text)
        for path in tracked
        for text in forbidden
        if text in path.read_text("utf-8", errors="replace")
    ]
    assert found == []


def is_ours(path: Path) -> bool:
    parts = set(path.relative_to(ROOT).parts)
    made = {
        ".git",
        ".venv",
        ".rosterhub",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".hypothesis",
        "__pycache__",
        "build",
    }
    return not parts & made and not any(part.endswith(".egg-info") for part in parts)
