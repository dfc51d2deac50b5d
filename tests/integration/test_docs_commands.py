"""Every command that the documentation shows is run by a test, or stands here with the reason why not.

`hub` commands are run one after the other, in the order of their pages, on a hub that knows nobody: each has
to end with status 0, or as `STATUSES` says where it names somebody whom this hub does not know. A page whose
commands belong together has a test of its own (`GUIDES`).
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pytest
import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from infra.cli.main import app, main
from infra.settings import reference
from infra.simulators.moodle import MoodleState
from tests.databases import new_database
from tests.documentation import PAGES, ROOT, Command, blocks, commands
from tests.integration.operations_support import served

GUIDES: Mapping[str, tuple[str, int]] = {
    "docs/guides/consumers-faust.md": ("test_consumer_guides.py", 1),
    "docs/guides/elm.md": ("test_elm_guide.py", 9),
    "docs/guides/sis.md": ("test_sis_docs.py", 5),
    "docs/guides/zoho.md": ("test_zoho_guide.py", 7),
}
"""Pages with a test of their own: its file, and how many blocks the page has. Extend it with the page."""

ELSEWHERE: Mapping[str, str] = {
    "hub run": "runs for ever: tests/integration/test_elm_guide.py, tests/faults/test_whole_way.py",
    "hub pull": "asks a source: tests/integration/test_zoho_guide.py, test_sis_docs.py",
}
"""Commands of the hub that are not run here but only parsed, with what runs them."""

STATUSES: Mapping[str, int] = {
    "hub keys revoke": 1,
    "hub conflicts show": 2,
    "hub conflicts resolve": 2,
    "hub sync": 2,
    "hub dlq show": 2,
    "hub trace": 2,
    "hub state": 2,
    "hub alerts show": 2,
    "hub alerts ack": 2,
    "hub alerts silence 1": 2,
    "hub alerts unsilence": 2,
    "hub alerts test": 2,
    "hub replay pause": 2,
    "hub replay resume": 2,
}
"""Commands that name somebody or something; each is run on a hub that has it by the tests of its part."""

FOREIGN: Mapping[str, str] = {
    "kafka-console-consumer.sh": "Kafka's own tool, which the embedded broker comes without",
    "curl -X POST http://127.0.0.1:PORT/pause": "PORT stands for a number; tests/unit/test_engine_status.py",
    "source .venv/bin/activate": "of the shell",
    "useradd": "needs root",
    "install": "needs root; the files that it copies are there",
    "systemctl": "needs root and systemd; tests/unit/test_deploy.py reads the units",
    "docker": "needs a container engine; tests/unit/test_deploy.py reads the files",
    "kubectl": "needs a cluster; tests/unit/test_deploy_kubernetes.py checks the manifests",
    "spark-submit": "needs Spark, a download of 400 MB; it was run by hand, as the page says",
    "pg_dump": "PostgreSQL's own tool, which the embedded server comes without",
    "pg_restore": "the same",
}
"""Commands of others that no test runs, and why."""

VARIABLES = {name for name, _, _ in reference()} | {"HUB_URL", "HUB_KEY"}
MAKEFILE = (ROOT / "Makefile").read_text("utf-8").replace("$(VENV)", ".venv")
MAKE_TARGETS = set(re.findall(r"^([\w./-]+):", MAKEFILE, re.MULTILINE))
API_PAGE = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
API = re.findall(r"^### .*$", API_PAGE, re.MULTILINE)
ALL = [command for page in PAGES for command in commands(page)]
HUB = [one for one in ALL if one.words[0] == "hub" and one.page not in GUIDES]
PARSED = [one for one in HUB if any(str(one).startswith(start) for start in ELSEWHERE)]
RUN = {one.words: one for one in HUB if one not in PARSED}
"""Each command once, whatever the number of pages that show it."""


def ids(command: Command) -> str:
    return f"{command.page}: {command}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the files that the commands read."""
    made = tmp_path_factory.mktemp("reader")
    (made / "mapping.toml").write_text('[sources.sis.user]\nauth = "saml2"\n', "utf-8")
    student = '{"id": "s1", "Name": "Ada Example", "Academic_Email": "ada@learn.example", "Status": "Active"}'
    (made / "student.json").write_text(student, "utf-8")
    return made


@pytest.fixture(scope="module")
def environment(kafka: str, registry_url: str, database_url: str, folder: Path) -> Iterator[dict[str, str]]:
    """Give the settings of a hub that was set up and knows nobody."""
    moodle = MoodleState()
    with served(moodle) as address, new_database(database_url) as database:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": database,
            "DATA_DIR": str(folder / "data"),
            "TOPIC_PREFIX": "commands.",
            "TOPIC_PARTITIONS": "1",
            "MOODLE_URL": address,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "LOG_LEVEL": "ERROR",
        }
        assert status_of(("setup",), folder, settings) == 0
        assert status_of(("rebuild",), folder, settings) == 0
        yield settings


def status_of(words: tuple[str, ...], folder: Path, settings: Mapping[str, str]) -> int:
    """Run `hub` with these arguments in this process; give its exit status."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    before = Path.cwd()
    os.chdir(folder)
    try:
        with patch.dict(os.environ, {**clean, **settings}, clear=True):
            main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        os.chdir(before)
    return 0


@pytest.mark.integration
@pytest.mark.parametrize("command", RUN.values(), ids=ids)
def test_the_command_ends_as_it_should(
    command: Command, environment: dict[str, str], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = next((status for start, status in STATUSES.items() if str(command).startswith(start)), 0)
    assert status_of(command.words[1:], folder, environment) == expected, capfd.readouterr()


@pytest.mark.integration
def test_the_queries_of_the_pages_run(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        for page in PAGES:
            for query in re.findall(r"^```sql\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
                connection.execute(query)


@pytest.mark.parametrize("command", PARSED, ids=ids)
def test_the_command_line_knows_the_command_and_its_options(command: Command) -> None:
    parse(command.words[1:])


def parse(words: tuple[str, ...]) -> None:
    """Have the command line take the arguments apart without running anything; raise if it cannot."""
    command, rest = typer.main.get_command(app), list(words)
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    if isinstance(command, TyperGroup) and not command.invoke_without_command:
        raise AssertionError(words)
    command.make_context("hub", rest)


@pytest.mark.parametrize("words", [("parked", "list", "--colour"), ("parked", "lst"), ("parked",), ("prk",)])
def test_a_command_or_option_that_there_is_not_is_found(words: tuple[str, ...]) -> None:
    with pytest.raises((AssertionError, TyperException)):
        parse(words)


@pytest.mark.parametrize("page", GUIDES)
def test_a_page_with_a_test_of_its_own_has_no_block_more(page: str) -> None:
    name, count = GUIDES[page]
    assert (ROOT / "tests" / "integration" / name).exists()
    assert len(blocks(ROOT / page)) == count


@pytest.mark.parametrize("command", [one for one in ALL if one.words[0] != "hub"], ids=ids)
def test_what_is_no_command_of_the_hub_is_known(command: Command) -> None:
    name, *rest = command.words
    assert [word for word in rest if word.startswith("infra/") and not list(ROOT.glob(word))] == []
    if command.page in GUIDES or any(str(command).startswith(start) for start in FOREIGN):
        return
    if name == "export":
        names = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", str(command)))
        assert {name for name in names if not name.startswith("OTEL_")} <= VARIABLES
    elif name == "make":
        assert rest[0] in MAKE_TARGETS
    elif name == "curl":
        assert_served(rest)
    else:
        assert command.words[:2] == ("python", "-m"), "add it to FOREIGN, with the reason why no test runs it"
        assert importlib.util.find_spec(command.words[2]) is not None


def assert_served(words: list[str]) -> None:
    """See that the application serves what `curl` is to ask it for, by the reference of its addresses."""
    [address] = [word for word in words if word.startswith("$HUB_URL")]
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    parts = urlsplit(address.removeprefix("$HUB_URL"))
    served = [line for line in API if matches(line, method, parts.path)]
    assert len(served) == 1, f"{method} {parts.path} is no address of the application"
    section = API_PAGE[API_PAGE.index(served[0]) :].split("\n### ", 1)[0]
    assert {f"`{name}`" for name, _ in parse_qsl(parts.query)} <= set(re.findall(r"`\w+`", section))


def matches(heading: str, method: str, path: str) -> bool:
    """Tell whether a heading of the reference, such as ``### `GET /v1/runs/{id}```, is that of a request."""
    known, _, template = heading.strip("#` ").partition(" ")
    return (
        known == method and re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None
    )


INLINE = [
    (str(page.relative_to(ROOT)), text)
    for page in PAGES
    for text in sorted(set(re.findall(r"`hub ([a-z][^`]*)`", page.read_text("utf-8"))))
]


def test_commands_within_the_text_and_their_options_are_there() -> None:
    wrong = []
    for page, text in INLINE:
        command, rest = typer.main.get_command(app), [re.split(r"\\?\|", word)[0] for word in text.split()]
        while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        options = {"--help", *(name for parameter in command.params for name in parameter.opts)}
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - options
        if unknown or (isinstance(command, TyperGroup) and rest and rest[0].islower()):
            wrong.append(f"{page}: hub {text}")
    assert wrong == []


def test_nothing_stands_in_the_lists_that_no_page_shows() -> None:
    shown = [str(one) for one in ALL]
    lists = [*ELSEWHERE, *STATUSES, *FOREIGN]
    assert [start for start in lists if not any(one.startswith(start) for one in shown)] == []
