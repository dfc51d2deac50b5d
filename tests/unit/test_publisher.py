"""What a publisher refuses before it sends anything, and events as text for an outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from infra.errors import HubError
from infra.registry import Registry
from producers.publisher import DomainEvent, EventPublisher, InvalidEventError, check, pack, unpack
from schemas.academics import Program
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId, ProgramId, TenantId
from schemas.moodle import MoodleCommand

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ADA = Person(
    tenant=TenantId("t"),
    person_id=PersonId("7"),
    operation=Operation.UPSERT,
    source_system="django",
    source_record_id="7",
    version_time=NOW,
    version_sequence=1,
    recorded_at=NOW,
    account_policy=AccountPolicy.ALWAYS,
    email="ada@school.example",
    attributes={"year": "1"},
)
MATHS = Program(
    tenant=TenantId("t"),
    program_id=ProgramId("m"),
    operation=Operation.DELETE,
    source_system="django",
    source_record_id="m",
    version_time=NOW,
    version_sequence=0,
    recorded_at=NOW,
    name="Maths",
    price=Decimal("10.50"),
)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"email": 5}, "email"),
        ({"tenant": ""}, "tenant"),
        ({"person_id": ""}, "person_id"),
        ({"source_record_id": ""}, "source_record_id"),
        ({"version_time": datetime(2026, 1, 5)}, "version_time"),  # noqa: DTZ001 - what is tested
        ({"version_sequence": "1"}, "version_sequence"),
        ({"operation": "REMOVE"}, "operation"),
        ({"attributes": {"year": 1}}, "attributes"),
        ({"account_policy": None}, "account_policy"),
    ],
)
def test_a_bad_event_is_refused_by_its_field_and_without_its_value(
    wrong: Mapping[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError) as refused:
        check(replace(ADA, **wrong), 3)
    assert (refused.value.position, refused.value.field) == (3, field)
    assert "REMOVE" not in str(refused.value)
    assert "school" not in str(refused.value)


def test_good_events_pass() -> None:
    for event in (ADA, MATHS):
        check(event)


def test_only_domain_events_can_be_published() -> None:
    publisher = EventPublisher(
        {"bootstrap.servers": "127.0.0.1:1"}, Registry("http://127.0.0.1:1"), source="test"
    )
    with publisher, pytest.raises(InvalidEventError, match="MoodleCommand is no domain event"):
        publisher.publish([cast(DomainEvent, object.__new__(MoodleCommand))])


@pytest.mark.parametrize("event", [ADA, MATHS])
def test_an_event_comes_back_from_its_text(event: DomainEvent) -> None:
    assert unpack(pack(event)) == event


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"type":"rosterhub.person","record":{}}', '{"type":"x","record":{}}']
)
def test_other_text_is_no_event(text: str) -> None:
    with pytest.raises(HubError, match="no packed event"):
        unpack(text)
