"""What the documentation tells others to run does run."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connectors.moodle_sink.settings import Feature, functions
from connectors.moodle_source.reads import FUNCTIONS as SOURCE_FUNCTIONS
from connectors.moodle_survey.reads import GRADES
from infra import topics_admin
from infra.codec import Codec
from infra.registry import Registry
from schemas.events import Enrolment, EnrolmentStatus, Operation, Role
from schemas.ids import CourseId, EnrolmentId, PersonId, TenantId
from schemas.topics import ENROLMENTS
from tests.documentation import PAGES, ROOT, anchors

pytestmark = pytest.mark.integration
DOCS = ROOT / "docs"


def enrolment(person: str, status: EnrolmentStatus, sequence: int) -> Enrolment:
    now = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)
    return Enrolment(
        tenant=TenantId("default"),
        enrolment_id=EnrolmentId("1"),
        person_id=PersonId(person),
        course_id=CourseId("32090"),
        operation=Operation.UPSERT,
        status=status,
        role=Role.STUDENT,
        source_system="elm",
        source_record_id="1",
        version_time=now,
        version_sequence=sequence,
        recorded_at=now,
    )


def test_the_consumer_of_the_guide_prints_the_newest_state(
    kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    topic, registry = ENROLMENTS.prefixed(topic_prefix), Registry(registry_url)
    topics_admin.apply({"bootstrap.servers": kafka}, registry, [topic], partitions=2, replication_factor=1)
    producer, codec = Producer({"bootstrap.servers": kafka}), Codec(registry)
    for event in (
        enrolment("A", EnrolmentStatus.ACTIVE, 1),
        enrolment("B", EnrolmentStatus.SUSPENDED, 2),
        enrolment("B", EnrolmentStatus.ACTIVE, 1),
    ):
        producer.produce(topic.name, codec.encode(topic, event), event.key)
    assert producer.flush(30) == 0
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "consumers.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "consumer.py").write_text(code, "utf-8")
    done = subprocess.run(
        [sys.executable, "consumer.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "TOPIC_PREFIX": topic_prefix,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("default A 32090 ACTIVE\ndefault B 32090 SUSPENDED\n", "")


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    texts = {page: page.read_text("utf-8") for page in (*PAGES, ROOT / "CHANGELOG.md")}
    headings = {page.resolve(): anchors(text) for page, text in texts.items()}
    broken = []
    for page, text in texts.items():
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            target = (page.parent / link).resolve() if link else page.resolve()
            known = headings.get(target, {anchor}) if anchor else {anchor}
            if not target.exists() or anchor not in known:
                broken.append(f"{page.relative_to(ROOT)}: {link}#{anchor}")
    assert broken == []


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = set(re.findall(r"\]\(([^)#:]+)\)", (DOCS / "README.md").read_text("utf-8")))
    pages = {str(page.relative_to(DOCS)) for page in PAGES if DOCS in page.parents}
    decisions = {page for page in pages if page.startswith("decisions/")}
    assert pages - decisions - {"README.md"} <= listed


def test_the_functions_of_the_service_user_are_all_told() -> None:
    page = (DOCS / "security.md").read_text("utf-8")
    told = set(re.findall(r"`((?:core|enrol|tool|gradereport)_[a-z_]+)`", page))
    assert told == {*functions(Feature), *SOURCE_FUNCTIONS, GRADES}


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## A record at which ELM fails for ever", "a-record-at-which-elm-fails-for-ever"),
        ("### `GET /v1/runs/{id}`", "get-v1runsid"),
        ("## [Metrics](metrics.md) and alerts: both", "metrics-and-alerts-both"),
        ("```sh\n# no heading\n```\n## Twice\n## Twice", "twice-1"),
    ],
)
def test_anchors_are_those_that_a_browser_finds(heading: str, anchor: str) -> None:
    assert anchor in anchors(heading)
    assert "no-heading" not in anchors(heading)
