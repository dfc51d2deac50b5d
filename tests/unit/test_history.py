"""Points of history as people write them, and what a message is told as."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Message

from infra.cli.history import Request, Source, check_entity, chosen_by, reach_of
from infra.cli.moments import Point, moment_of, point_of
from infra.cli.telling import fields_of, identity_of, line_of, news, word_of
from infra.codec import Codec
from infra.errors import BadArgument
from infra.fetch import Spot, spot_of
from infra.mapping import parse
from infra.registry import Registry
from infra.scratch import scratch
from infra.stage import Output
from processors.accounts import AccountEntry
from producers import entities
from schemas.events import EnrolmentStatus
from schemas.ids import MoodleUserId, PersonId, TenantId, key
from schemas.topics import Record, Topic
from tests.flow import test_rules as sis
from tests.flow.moodle_model import MoodleModel
from tests.flow.test_stages import SITES, TENANT, TOPICS, World, enrolment, person

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T10:00Z", Point(at=TEN)),
        ("2026-11-21T17:00:00+07:00", Point(at=TEN)),
        ("1200", Point(offset=1200)),
        ("0:1200,3:950", Point(offsets={0: 1200, 3: 950})),
    ],
)
def test_a_point_is_a_time_or_offsets(text: str, expected: Point) -> None:
    assert point_of("from", text) == expected


@pytest.mark.parametrize("text", ["2026-11-21T10:00", "2026-13-01T10:00Z", "x", "0:x", "0:1,", "-1", "1.5"])
def test_what_is_no_point_is_named(text: str) -> None:
    with pytest.raises(BadArgument, match="from: "):
        point_of("from", text)


def test_a_time_needs_its_zone() -> None:
    with pytest.raises(BadArgument, match="at: '2026-11-21' says no zone"):
        moment_of("at", "2026-11-21")


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (Point(at=TEN), [False, True, True]),
        (Point(offset=6), [False, True, True]),
        (Point(offsets={0: 7}), [False, False, True]),
        (Point(offsets={1: 0}), [False, False, False]),
    ],
)
def test_a_message_is_before_a_point_or_not(point: Point, expected: list[bool]) -> None:
    messages = [(5, TEN.replace(hour=9)), (6, TEN), (7, TEN.replace(hour=11))]
    assert [point.is_before(0, offset, at) for offset, at in messages] == expected


def test_a_place_is_read_as_it_is_written() -> None:
    assert spot_of(str(Spot("t.hub.people", 3, 17))) == Spot("t.hub.people", 3, 17)
    for text in ("hub.people/3", "hub.people/x/1", "/1/2", ""):
        with pytest.raises(BadArgument):
            spot_of(text)


def test_a_message_is_told_by_what_is_new_and_without_personal_data() -> None:
    first: Record = person(email="a@example.test").record
    second: Record = person(email="b@example.test", hour=1).record
    told = news(first, None, full=False)
    assert (told["email"], told["person_id"], word_of(first)) == ("(hidden)", "0A1B", "event")
    assert "source_status" not in told
    assert news(second, first, full=False).keys() == {"email", "version_time"}
    assert news(second, first, full=True)["email"] == "b@example.test"
    assert news(second, second, full=False) == {}
    assert identity_of(first) == identity_of(second) != identity_of(person(source_system="zoho").record)
    assert (
        line_of({"a": 0, "b": None, "c": (1,), "d": "", "e": False, "f": ()})
        == "a=0 b=- c=[1] d=- e=False f=-"
    )


def test_a_field_that_is_gone_is_news() -> None:
    before = enrolment(EnrolmentStatus.ACTIVE, 1, source_status="C").record
    after = enrolment(EnrolmentStatus.ACTIVE, 1).record
    assert line_of(news(after, before, full=False)) == "source_status=-"


def test_a_command_is_told_by_its_wish() -> None:
    world = World(MoodleModel(TOPICS))
    [command] = world.feed(person(), enrolment(EnrolmentStatus.SUSPENDED, 1))
    told = fields_of(command)
    assert (told["kind"], told["create"], told["person_id"]) == ("USER", False, "0A1B")
    assert word_of(command) == "command"


def test_scratch_tables_keep_what_was_saved_and_know_each_other_by_name() -> None:
    with scratch() as tables:
        one, other = tables.table("one"), tables.table("other")
        one.put("account|t|p", AccountEntry(1, MoodleUserId(5)))
        tables.save()
        one.put("account|t|q", AccountEntry(2))
        assert [at for at, _ in one.scan("account|", AccountEntry)] == ["account|t|p", "account|t|q"]
        assert list(other.scan("", AccountEntry)) == []
        tables.fill("other", {b"account|t|p": b"\x91\x07"})
        assert other.get("account|t|p", AccountEntry) == AccountEntry(7)
        tables.fill("other", {b"account|t|p": None})
        assert other.get("account|t|p", AccountEntry) is None
        assert tables.table("one") is one


@dataclass(frozen=True)
class Kept(Source):
    """History in a list; the first event was stored at ten, each other one an hour after the one before."""

    history: tuple[Output, ...] = ()

    def records(self, topic: Topic, takes: Callable[[Message], bool]) -> Iterator[tuple[Message, Any]]:
        for number, one in enumerate(self.history):
            stored = int((TEN + timedelta(hours=number)).timestamp() * 1000)
            key = one.record.key.encode()
            message = Message(topic=topic.name, partition=0, offset=number, key=key, timestamp=(1, stored))
            if one.topic == topic and takes(message):
                yield message, one.record


HISTORY = (
    sis.term(),
    sis.course(),
    person("ann"),
    person("ben"),
    enrolment(EnrolmentStatus.ACTIVE, 1, person_id="ann", course_id=sis.CLASS),
    enrolment(EnrolmentStatus.ACTIVE, 1, person_id="ann", course_id="other"),
    enrolment(EnrolmentStatus.ACTIVE, 1, person_id="ben", course_id="other"),
    sis.section("S1", "A"),
    sis.payment(person_id=PersonId("ben")),
)
OF_COURSE = key("course", TENANT, sis.CLASS)


def kept() -> Kept:
    codec = Codec(Registry("http://unused"))
    return Kept({}, codec, SITES, "", parse(""), HISTORY)


def request(topic: Topic, **chosen: Any) -> Request:
    return Request(topic, TENANT, **chosen)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(TOPICS.people), {"person|default|ann", "person|default|ben"}),
        (request(TOPICS.people, start=Point(offset=3)), {"person|default|ben"}),
        (request(TOPICS.people, end=Point(at=TEN + timedelta(hours=3))), {"person|default|ann"}),
        (request(TOPICS.payments), {"person|default|ben"}),
        (
            request(TOPICS.enrolments, entity=entities.enrolment(TENANT, "ann", "other")),
            {"account|default|ann", "enrolment|default|ann|other"},
        ),
        (
            request(TOPICS.enrolments, entity=entities.course(TENANT, sis.CLASS)),
            {"account|default|ann", key("enrolment", TENANT, "ann", sis.CLASS)},
        ),
        (request(TOPICS.courses), {OF_COURSE}),
        (request(TOPICS.sections), {OF_COURSE}),
        (request(TOPICS.terms), {OF_COURSE}),
        (request(TOPICS.programs), set()),
        (Request(TOPICS.people, TenantId("def")), set()),
    ],
)
def test_events_choose_whom_it_is_about(asked: Request, expected: set[str]) -> None:
    assert chosen_by(kept(), asked) == expected


def test_what_is_chosen_is_folded_with_all_that_decides_on_it() -> None:
    ann, ben = "default|ann", "default|ben"
    course, other = key(TENANT, sis.CLASS), "default|other"
    assert reach_of(kept(), {"person|default|ben"}) == ({ben}, {other})
    assert reach_of(kept(), {"enrolment|default|ann|other"}) == ({ann}, {course, other})
    # All who are in a course are folded with it, and with them their other courses.
    assert reach_of(kept(), {OF_COURSE}) == ({ann}, {course, other})


def test_an_entity_that_the_topic_does_not_tell_of_is_refused() -> None:
    for topic, told in (
        (TOPICS.people, entities.course(TENANT, "c")),
        (TOPICS.courses, entities.person(TENANT, "p")),
        (TOPICS.payments, entities.enrolment(TENANT, "p", "c")),
        (TOPICS.terms, entities.course(TENANT, "c")),
    ):
        with pytest.raises(BadArgument, match=f"entity: topic {topic.name} does not tell of {told}"):
            check_entity(request(topic, entity=told))
