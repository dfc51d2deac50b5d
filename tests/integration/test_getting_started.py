"""The first steps, as the page tells them: a key, a course, a person, an enrolment, and what became of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.ports import free_port
from infra.simulators.moodle import Seed
from infra.simulators.seed import SeedPlan, records
from tests.documentation import ROOT, blocks
from tests.integration.intake_support import until
from tests.integration.operations_support import ROLES, World, running_hub

PAGE = ROOT / "docs" / "getting-started.md"


def block(holding: str) -> str:
    [found] = [text for text in blocks(PAGE) if holding in text]
    return found


@pytest.fixture
def world(kafka: str, registry_url: str, database_url: str, tmp_path: Path) -> Iterator[World]:
    env = {"API_PORT": str(free_port())}
    with running_hub(
        kafka, registry_url, database_url, tmp_path, Seed(), roles=(*ROLES, "api"), env=env
    ) as hub:
        until(lambda: answers(f"http://127.0.0.1:{env['API_PORT']}/v1/health"), 60)
        yield hub


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.integration
def test_the_first_enrolment_reaches_moodle(world: World) -> None:
    text = block("First steps").replace(":8080", f":{world.env['API_PORT']}")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, **world.env, "PATH": tools}
    done = subprocess.run(
        ["bash", "-euc", text], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answered = re.findall(r'"status": ?"(\w+)"', done.stdout)
    assert answered == ["NEW", "NEW", "NEW"], done.stdout

    _, *words = block("hub state").split()
    [line] = re.findall(r"```text\n(enrolment wished .*)\n```", PAGE.read_text("utf-8"))
    told = re.compile(re.sub(r"(id)=\d+", r"\1=\\d+", line))
    until(lambda: told.search(world.hub(*words)) is not None, 60)
    assert len(world.moodle.enrolments.rows) == 1

    # The application runs here, so what the reference says of it is looked at here too.
    with urllib.request.urlopen(
        f"http://127.0.0.1:{world.env['API_PORT']}/openapi.json", timeout=10
    ) as answer:
        paths = json.load(answer)["paths"]
    served = {f"### `{method.upper()} /v1{path}`" for path, methods in paths.items() for method in methods}
    page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    assert set(re.findall(r"^### `.*`$", page, re.MULTILINE)) == served


def test_the_learner_of_the_demo_is_in_its_feed() -> None:
    [(person, course)] = re.findall(r"hub trace enrolment/(\w+)/(\w+)", block("hub trace"))
    found = [one for one in records(SeedPlan()) if str(one["GUID"]) == person]
    assert "Enrol" in {one["COURSE_STATE"] for one in found if str(one["COURSE_IDENTIFIER"]) == course}
