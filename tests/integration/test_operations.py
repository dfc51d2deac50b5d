"""From a conflict to its end, from parked to enrolled: the command line on a hub that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import BadArgument, RetryLater, Unsafe
from infra.simulators.moodle import Seed, SeedCourse, SeedUser
from tests.integration.intake_support import until
from tests.integration.operations_support import World, enrolment, person, running_hub

pytestmark = pytest.mark.integration

CONFLICTS = "SELECT person_id, reason, state FROM read_model.conflicts ORDER BY 1"
PARKED = "SELECT person_id, course_id, waits_for FROM read_model.parked ORDER BY 1, 2"
AUDIT = "SELECT action, subject, why, details FROM read_model.audit WHERE subject = %s"
STATUSES = "SELECT status FROM read_model.standing WHERE kind = 'ENROLMENT' AND person_id = '{}'"


@pytest.fixture(scope="module")
def world(
    kafka: str, registry_url: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    content = Seed(
        courses=[SeedCourse("M1", idnumber="maths")],
        users=[
            SeedUser("ann@example.test", username="ann-of-last-year"),
            SeedUser("bob@example.test", username="somebody", idnumber="bert"),
            SeedUser("other@example.test", username="cat@example.test", idnumber="cat"),
        ],
    )
    folder: Path = tmp_path_factory.mktemp("hub")
    with running_hub(kafka, registry_url, database_url, folder, content) as made:
        made.send(
            *(person(name) for name in ("ann", "bert", "bob", "cat", "dan", "eve")),
            *(enrolment(name, "maths") for name in ("ann", "cat", "dan")),
            enrolment("eve", "physics"),
        )
        made.until(
            CONFLICTS,
            ("ann", "EMAIL_TAKEN", "OPEN"),
            ("bert", "EMAIL_MISMATCH", "OPEN"),
            ("bob", "EMAIL_TAKEN", "OPEN"),
            ("cat", "EMAIL_MISMATCH", "OPEN"),
        )
        made.until(STATUSES.format("dan"), ("ACTIVE",))
        made.until(
            PARKED, ("ann", "maths", "account"), ("cat", "maths", "account"), ("eve", "physics", "course")
        )
        yield made


def moodle_id(world: World, username: str) -> int:
    [row] = world.moodle.users.find("username", username)
    return row.id


def test_a_conflict_is_shown_with_both_sides_and_ends_when_it_is_settled(world: World) -> None:
    [listed] = [one for one in world.listed("conflicts", "list") if one["person_id"] == "ann"]
    theirs = moodle_id(world, "ann-of-last-year")
    assert (listed["reason"], listed["other_moodle_user_id"]) == ("EMAIL_TAKEN", theirs)
    [shown] = world.listed("conflicts", "show", "person/ann")
    assert [side["fields"]["email"] for side in shown["sources"]] == ["ann@example.test"]
    assert [side["fields"]["username"] for side in shown["moodle"]] == ["ann-of-last-year"]
    plain = world.hub("conflicts", "show", "person/ann")
    assert "can be settled by: take-over, ignore" in plain
    assert "take-over" in world.hub("conflicts", "list")

    settle = ("conflicts", "resolve", "person/ann", "take-over")
    assert f"by take-over {theirs}" in world.hub(*settle, "--dry-run")
    assert world.rows(AUDIT, "person/ann") == []
    world.hub(*settle, "--why", "hers")
    world.until(STATUSES.format("ann"), ("ACTIVE",))
    [account] = world.moodle.users.find("idnumber", "ann")
    assert account.id == theirs
    world.until("SELECT 1 FROM read_model.conflicts WHERE person_id = 'ann'")
    details = {"resolution": "TAKE_OVER", "reason": "EMAIL_TAKEN", "moodle_id": str(theirs)}
    assert world.rows(AUDIT, "person/ann") == [("conflict.resolve", "person/ann", "hers", details)]


def test_an_address_is_kept_and_what_is_ignored_leaves_the_list(world: World) -> None:
    world.hub("conflicts", "resolve", "person/cat", "keep")
    world.until(STATUSES.format("cat"), ("ACTIVE",))
    assert world.moodle.users.find("idnumber", "cat")[0].email == "other@example.test"
    world.hub("conflicts", "resolve", "person/bert", "ignore")
    until(
        lambda: (
            [one["person_id"] for one in world.listed("conflicts", "list", "--state", "ignored")] == ["bert"]
        )
    )
    assert "bert" not in [one["person_id"] for one in world.listed("conflicts", "list")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("person/bob", "update"), "resolution: update does not settle EMAIL_TAKEN; take-over, ignore can"),
        (("person/bob", "sell"), "resolution: 'sell' is none of take-over, update, keep, ignore"),
        (("person/bob", "take-over"), "is that of person/bert; two cannot share it"),
        (("person/bob", "ignore", "--moodle-id", "4"), "moodle_id: ignore takes none"),
        (("person/dan", "keep"), "person/dan: is in no conflict"),
        (("bob", "keep"), "entity: 'bob' is none of person/ID, course/ID, enrolment/PERSON/COURSE"),
    ],
)
def test_what_cannot_settle_a_conflict_is_refused_with_the_reason(
    world: World, arguments: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(BadArgument, match=expected):
        world.hub("conflicts", "resolve", *arguments)


def test_what_is_parked_is_released_after_the_question_and_goes_on(world: World) -> None:
    assert world.listed("parked", "list", "--waits-for", "course", "--older-than", "1h") == []
    [one] = world.listed("parked", "list", "--waits-for", "course")
    assert (one["person_id"], one["course_id"], one["reason"]) == ("eve", "physics", "COURSE_NOT_FOUND")
    assert "COURSE_NOT_FOUND: There is no Moodle course" in world.hub(
        "parked", "show", "enrolment/eve/physics"
    )
    with pytest.raises(BadArgument, match="name at least one, or say --all"):
        world.hub("parked", "release")
    release = ("parked", "release", "--course", "physics")
    assert "1 wait; 1 accounts and courses" in world.hub(*release, "--dry-run")
    with pytest.raises(Unsafe, match="no terminal"):
        world.hub(*release)
    assert world.rows(AUDIT, "course/physics") == []
    world.put(Seed(courses=[SeedCourse("P1", idnumber="physics")]))
    world.hub(*release, "--yes", "--why", "made by hand")
    world.until(STATUSES.format("eve"), ("ACTIVE",))
    assert world.rows(AUDIT, "course/physics") == [("parked.release", "course/physics", "made by hand", {})]
    world.until("SELECT 1 FROM read_model.parked WHERE person_id = 'eve'")


def test_a_sync_brings_back_what_somebody_took_away(world: World) -> None:
    before = len(world.moodle.enrolments.rows)
    [dan] = world.moodle.users.find("idnumber", "dan")
    with world.moodle.transaction():
        for row in [one for one in world.moodle.enrolments if one.userid == dan.id]:
            world.moodle.delete(world.moodle.enrolments, row.userid, row.courseid)
    assert "1 would be issued again" in world.hub("sync", "enrolment", "dan/maths", "--dry-run")
    with pytest.raises(BadArgument, match="enrolment/dan/latin: the hub knows none of tenant default"):
        world.hub("sync", "enrolment", "dan/maths", "dan/latin")
    world.hub("sync", "enrolment", "dan/maths")
    until(lambda: len(world.moodle.enrolments.rows) == before)
    generations = "SELECT kind, generation FROM read_model.commands WHERE person_id = 'dan' ORDER BY 1, 2"
    world.until(generations, ("ENROLMENT", 1), ("ENROLMENT", 2), ("USER", 1), ("USER", 2))
    for kind, known in (("person", "dan"), ("course", "maths")):
        world.hub("sync", kind, known)
        with pytest.raises(BadArgument, match=f"{kind}/nobody"):
            world.hub("sync", kind, "nobody")
    with pytest.raises(BadArgument, match="'dan' is not PERSON/COURSE"):
        world.hub("sync", "enrolment", "dan")


def test_without_a_read_model_it_says_so(world: World, empty_database: str) -> None:
    world.env["DATABASE_URL"], kept = empty_database, world.env["DATABASE_URL"]
    try:
        with pytest.raises(RetryLater, match="there is no read model yet"):
            world.hub("conflicts", "list")
    finally:
        world.env["DATABASE_URL"] = kept
