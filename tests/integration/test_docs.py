"""What the documentation tells others to run does run."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra import topics_admin
from infra.codec import Codec
from infra.registry import Registry
from schemas.events import Enrolment, EnrolmentStatus, Operation, Role
from schemas.ids import CourseId, EnrolmentId, PersonId, TenantId
from schemas.topics import ENROLMENTS

pytestmark = pytest.mark.integration
DOCS = Path(__file__).resolve().parents[2] / "docs"


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
    pages = [*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md"]
    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
