"""A process imports what its role or its command needs, and no more: a hub has a dozen of them to start."""

import json
import subprocess
import sys

import pytest

from infra.cli.jobs import JOBS
from infra.cli.main import COMMANDS
from infra.cli.places import found
from infra.cli.roles import ROLES

DATABASE = {"sqlalchemy", "psycopg", "alembic"}
SCREEN = {"typer", "infra.cli.main", "infra.embedded", "infra.simulators"}
STATE, WEB, ANALYTICS = {"rocksdict"}, {"aiohttp"}, {"faust"}
NOT_WANTED = {
    "people": DATABASE | WEB,
    "moodle-sink": DATABASE | {"processors"},
    "clock": DATABASE | STATE | WEB,
    "relay": STATE | WEB | {"processors", "connectors"},
    "scheduler": STATE | WEB,
    "api": STATE,
}
"""What a role has no use for, beside what none has."""
_SCRIPT = """
import json, os, sys
from infra.cli.places import found
for name, (place, modules) in json.load(sys.stdin).items():
    if os.fork() == 0:  # each begins anew with what all have
        found(place)
        print(json.dumps([name, sorted(set(modules) & set(sys.modules))]), flush=True)
        os._exit(0)
    os.wait()
"""


def loaded(wanted: dict[str, tuple[str, set[str]]]) -> dict[str, list[str]]:
    """Return by name which of the modules that are named are there when the place has been imported."""
    asked = json.dumps({name: (place, sorted(modules)) for name, (place, modules) in wanted.items()})
    argv = [sys.executable, "-c", f"import infra.cli.role\n{_SCRIPT}"]
    done = subprocess.run(argv, input=asked, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_roles_and_commands_load_what_they_need_alone() -> None:
    wanted = {role: (ROLES[role], modules | SCREEN | ANALYTICS) for role, modules in NOT_WANTED.items()}
    for name in ("keys", "parked"):
        wanted[name] = (COMMANDS[name], ANALYTICS | STATE | {"processors", "connectors", "infra.cli.surveys"})
    assert loaded(wanted) == {name: [] for name in wanted}


@pytest.mark.parametrize("place", sorted({*ROLES.values(), *COMMANDS.values(), *JOBS.values()}))
def test_every_place_is_there(place: str) -> None:
    assert callable(found(place))
