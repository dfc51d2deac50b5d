"""What the read model calls parked, in conflict or refused is what the tables of the stages say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from connectors.read_model import store
from connectors.read_model.rows import Row
from connectors.read_model.snapshot import query
from connectors.read_model.state_tables import STATE
from connectors.read_model.writing import write
from infra.cli.state_rows import state_rows
from infra.db.connect import engine, raw
from infra.db.migrate import migrate
from processors import completions, courses, people
from processors.accounts import AccountEntry
from processors.catalogue import CatalogueEntry, CourseProfile, ReferenceEntry
from processors.parking import Held, standing
from processors.wishes import Wish
from schemas.elm import CallbackOutcome
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CallbackId, EnrolmentId, MoodleCourseId, MoodleUserId, key
from schemas.reasons import Reason
from schemas.version import Version
from tests.databases import new_database

pytestmark = pytest.mark.integration
AT = datetime(2026, 11, 1, tzinfo=UTC)
VERSION = Version(AT, 0)
PEOPLE, COURSES = ("p1", "p2"), ("c1", "c2")
STATUS = st.sampled_from(EnrolmentStatus)
REASON = st.none() | st.sampled_from(
    [Reason.EMAIL_TAKEN, Reason.REFUSED, Reason.COURSE_NOT_FOUND, Reason.SHORTNAME_TAKEN]
)
USER = st.none() | st.sampled_from([MoodleUserId(5), MoodleUserId(6)])
ACCOUNT = st.builds(
    AccountEntry, generation=st.integers(1, 3), moodle_user_id=USER, missing=st.booleans(), blocked=REASON
)
WISH = st.builds(
    Wish,
    version=st.just(VERSION),
    enrolment_id=st.just(EnrolmentId("9")),
    status=STATUS,
    role=st.just(Role.STUDENT),
    source_system=st.just("sis"),
    recorded_at=st.just(AT),
    starts_at=st.none(),
    ends_at=st.none(),
)
PROFILE = CourseProfile(
    source="sis",
    version=VERSION,
    deleted=False,
    create=True,
    status=None,
    category_id=None,
    starts_at=None,
    ends_at=None,
    moodle_course_id=None,
    term_id="t1",
    program_id="g1",
    fields={},
)
REFERENCE = ReferenceEntry(VERSION, None, None, None, {})
CATALOGUE = st.sets(st.sampled_from(["sis/TERM/t1", "sis/PROGRAM/g1"])).map(
    lambda known: CatalogueEntry({"sis/1": PROFILE}, dict.fromkeys(known, REFERENCE))
)
ISSUED = st.builds(
    courses.Issued,
    moodle_user_id=st.just(MoodleUserId(5)),
    moodle_course_id=st.just(MoodleCourseId(7)),
    status=STATUS,
    role=st.just(Role.STUDENT),
    starts_at=st.none(),
    ends_at=st.none(),
)
PLACEMENT = st.builds(
    courses.EnrolmentEntry,
    version=st.just(VERSION),
    moodle_user_id=st.just(MoodleUserId(5)),
    account_is_new=st.just(False),
    status=STATUS,
    role=st.just(Role.STUDENT),
    recorded_at=st.just(AT),
    starts_at=st.none(),
    ends_at=st.none(),
    issued=st.none() | ISSUED,
    applied=st.none() | STATUS,
    refused=REASON,
)
COURSE = st.builds(
    courses.CourseEntry,
    moodle_course_id=st.none() | st.just(MoodleCourseId(7)),
    blocked=REASON,
    is_out=st.booleans(),
)
COMPLETION = st.builds(
    completions.CompletionEntry,
    completed_on=st.just(date(2026, 11, 1)),
    observed_at=st.just(AT),
    callback_id=st.none() | st.just(CallbackId("cb")),
    outcome=st.none() | st.sampled_from(CallbackOutcome),
    refused=REASON,
)
PERSON, OF_COURSE = st.sampled_from(PEOPLE), st.sampled_from(COURSES)


def message(stage: str, word: str, *parts: Any, entry: Any) -> st.SearchStrategy[tuple[str, str, Any]]:
    """Give messages of a changelog: stage, key, and the entry, or none that deletes it."""
    keys = st.tuples(*parts).map(lambda ids: key(word, "t", *ids))
    return st.tuples(st.just(stage), keys, entry | st.none())


MESSAGES = st.lists(
    st.one_of(
        message("people", "account", PERSON, entry=ACCOUNT),
        message(
            "people",
            "enrolment",
            PERSON,
            OF_COURSE,
            entry=st.builds(people.EnrolmentEntry, wish=WISH, sent_with=USER),
        ),
        message("courses", "course", OF_COURSE, entry=COURSE),
        message("courses", "catalogue", OF_COURSE, entry=CATALOGUE),
        message("courses", "enrolment", OF_COURSE, PERSON, entry=PLACEMENT),
        message("completions", "completion", PERSON, OF_COURSE, entry=COMPLETION),
    ),
    max_size=40,
)
HELD = {
    "parked": "SELECT what, person_id, course_id, waits_for, reason FROM read_model.parked",
    "conflicts": "SELECT replace(lower(subject), 'user', 'account'), person_id, course_id, NULL, reason"
    " FROM read_model.conflicts",
    "refused": "SELECT what, person_id, course_id, NULL, reason FROM read_model.refused",
}
SINCE = "SELECT since FROM read_model.{} ORDER BY tenant, person_id, course_id, since"


@pytest.fixture(scope="module")
def pool(database_url: str) -> Iterator[Engine]:
    """Give a database with an empty read model."""
    with new_database(database_url) as url:
        migrate(url)
        made = engine(url, pool_size=1)
        with made.begin() as connection:
            generation = store.make(connection)
            assert [*store.finish(connection, generation)]
            store.switch(connection, generation)
        yield made
        made.dispose()


def rows(messages: Sequence[tuple[str, str, Any]]) -> list[Row]:
    """Give the rows that the messages become, one a minute."""
    return [
        row
        for number, (stage, name, entry) in enumerate(messages)
        for row in state_rows(
            stage,
            name,
            None if entry is None else msgspec.msgpack.encode(entry),
            AT + timedelta(minutes=number),
            f"x/0/{number}",
        )
    ]


def keep(connection: Connection, made: Sequence[Row], size: int) -> None:
    """Write rows, so many at once, all in one transaction that is taken back."""
    generation = store.live(connection) or 0
    for start in range(0, len(made), size):
        write(connection, generation, made[start : start + size], {})
        for projection in STATE:  # as the end of a transaction would
            raw(connection).execute(f"DROP TABLE IF EXISTS pg_temp.new_{projection.name}")


def told(connection: Connection, view: str) -> list[tuple[Any, ...]]:
    return sorted(raw(connection).execute(HELD[view]).fetchall(), key=str)


def expected(held: Sequence[Held]) -> list[tuple[Any, ...]]:
    return sorted(
        [(one.what, one.person_id, one.course_id, one.waits_for, one.reason) for one in held], key=str
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES, st.integers(1, 7))
def test_what_is_held_is_what_the_stages_say(pool: Engine, messages: list[Any], size: int) -> None:
    tables: dict[str, dict[str, bytes]] = {"people": {}, "courses": {}, "completions": {}}
    for stage, name, entry in messages:
        tables[stage].pop(name, None)
        if entry is not None:
            tables[stage][name] = msgspec.msgpack.encode(entry)
    held = standing(tables).held
    with pool.connect() as connection:
        made = rows(messages)
        keep(connection, made, size)
        assert told(connection, "parked") == expected([one for one in held if one.waits_for])
        assert told(connection, "conflicts") == expected([one for one in held if one.is_conflict])
        assert told(connection, "refused") == expected([one for one in held if one.is_rejected])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES, st.integers(2, 20))
def test_since_does_not_depend_on_how_messages_come_together(
    pool: Engine, messages: list[Any], size: int
) -> None:
    found = []
    for step in (1, size):
        with pool.connect() as connection:
            made = rows(messages)
            keep(connection, made, step)
            found.append([raw(connection).execute(SINCE.format(view)).fetchall() for view in HELD])
    assert found[0] == found[1]


_WISH: Any = (
    "people",
    "enrolment|t|p1|c1",
    people.EnrolmentEntry(
        Wish(VERSION, EnrolmentId("9"), EnrolmentStatus.ACTIVE, Role.STUDENT, "sis", AT, None, None), None
    ),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES, st.integers(1, 7))
@example([_WISH, ("people", "account|t|p1", AccountEntry(blocked=Reason.EMAIL_TAKEN))], 1)
@example([_WISH, ("courses", "course|t|c1", courses.CourseEntry(blocked=Reason.REFUSED))], 1)
@example([_WISH, ("people", _WISH[1], None)], 1)
def test_the_kept_snapshot_is_what_its_tables_say(pool: Engine, messages: list[Any], size: int) -> None:
    with pool.connect() as connection:
        keep(connection, rows(messages), size)
        schema = store.schema_of(store.live(connection) or 0)
        driver = raw(connection)
        kept = driver.execute("SELECT * FROM read_model.enrolment_snapshot").fetchall()
        assert sorted(kept, key=str) == sorted(driver.execute(query(schema).encode()).fetchall(), key=str)


def account(**changes: Any) -> tuple[str, str, AccountEntry]:
    return "people", "account|t|p1", AccountEntry(**changes)


def test_since_is_when_it_began_and_begins_anew_after_it_was_otherwise(pool: Engine) -> None:
    blocked = account(generation=1, blocked=Reason.EMAIL_TAKEN)
    again = account(generation=2, blocked=Reason.EMAIL_TAKEN)
    free = account(generation=3, moodle_user_id=5)
    steps = [blocked, again, free, blocked, again]
    with pool.connect() as connection:
        found = []
        for row in rows(steps):
            keep(connection, [row], 1)
            found += raw(connection).execute("SELECT since FROM read_model.conflicts").fetchall()
    first, later = AT, AT + timedelta(minutes=3)
    assert found == [(first,), (first,), (later,), (later,)]
    with pool.connect() as connection:
        keep(connection, rows(steps), 2)  # the third and fourth come together
        assert raw(connection).execute("SELECT since FROM read_model.conflicts").fetchall() == [(later,)]
