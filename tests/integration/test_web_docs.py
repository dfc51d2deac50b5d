"""What the guide for publishers tells others to run does run, and the pages say what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from producers.web.routes import Scope
from schemas.topics import PEOPLE
from tests.integration.intake_support import make_topics, records

pytestmark = pytest.mark.integration
DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "guides" / "django.md").read_text("utf-8")
BLOCK = re.compile(r"<!-- (.*?) -->\n```python\n(.*?)```", re.DOTALL)


def test_the_guide_publishes_an_event(
    kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    make_topics(kafka, registry_url, topic_prefix)
    blocks = [code for note, code in BLOCK.findall(GUIDE) if note == "A test runs this block."]
    assert len(blocks) == 3
    (tmp_path / "publish.py").write_text("\n".join(blocks), "utf-8")
    done = subprocess.run(
        [sys.executable, "publish.py"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(DOCS.parent),
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "TOPIC_PREFIX": topic_prefix,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
    (event,) = records(kafka, registry_url, topic_prefix, PEOPLE)
    found: Any = event
    assert (found.key, found.source_status) == ("default|9d3b2f4e-6f1c-4f6e-9a53-0c7f5a8b1d20", "ACTIVE")


def test_every_block_of_the_guide_is_python() -> None:
    found = BLOCK.findall(GUIDE)
    assert len(found) == GUIDE.count("```python")
    for _, code in found:
        compile(code, "django.md", "exec")


def test_the_scopes_are_all_told() -> None:
    page = (DOCS / "http-api.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("- Scopes:")]
    assert set(re.findall(r"`(\w+)`", line)) == set(Scope)
