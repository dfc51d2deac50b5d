"""Reconciliation, adoption and observation: the command line on a running hub beside a simulated Moodle."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from connectors.moodle_survey.observe import Observed
from infra.cli import jobs
from infra.cli.main import app
from infra.cli.surveys import tell_enrolments, tell_users, where
from infra.errors import BadArgument, RetryLater, Unsafe
from infra.settings import Settings
from infra.simulators.moodle import Fault, Seed, SeedCourse, SeedUser
from infra.simulators.moodle.functions import FUNCTIONS, MULTIPLEX, call
from infra.simulators.moodle.grades import set_grade
from infra.turns import Work
from producers.schedules import Key
from schemas.events import AccountPolicy, EnrolmentStatus
from tests.integration.intake_support import rows, until
from tests.integration.operations_support import TENANT, World, enrolment, person, running_hub

pytestmark = pytest.mark.integration

PEOPLE = ("ann", "bob", "dan")
GENERATIONS = "SELECT kind, max(generation), count(*) FROM read_model.standing GROUP BY kind ORDER BY kind"
AUDIT = "SELECT subject, why, details->>'drift' FROM read_model.audit WHERE action = %s ORDER BY 1"
_HOLD = """
    CREATE FUNCTION hold_directive() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(4242); RETURN new; END';
    CREATE TRIGGER hold_directive BEFORE INSERT ON outbox
        FOR EACH ROW WHEN (new.topic = 'hub.directives') EXECUTE FUNCTION hold_directive();
"""
DIRECTIVES = "SELECT count(*) FROM read_model.directives"


@pytest.fixture(scope="module")
def world(
    kafka: str, registry_url: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    content = Seed(
        courses=[SeedCourse("M1", idnumber="maths"), SeedCourse("E-OLD")],
        users=[
            SeedUser("kim@example.test", username="kim-of-old"),
            SeedUser("lee@example.test", username="lee-of-old"),
            SeedUser("mia@example.test", username="mia-of-old", idnumber="somebody"),
        ],
    )
    folder: Path = tmp_path_factory.mktemp("hub")
    with running_hub(kafka, registry_url, database_url, folder, content) as made:
        made.send(*map(person, PEOPLE), *(enrolment(name, "maths") for name in PEOPLE))
        made.until(GENERATIONS, ("COURSE", 1, 1), ("ENROLMENT", 1, 3), ("USER", 1, 3))
        yield made


def reconciled(world: World, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.hub("reconcile", "--json", *options))
    return found


def kinds(found: dict[str, Any]) -> set[tuple[str, str, str | None, str]]:
    return {(one["subject"], one["kind"], one["person_id"], one["fields"]) for one in found["drifts"]}


def moodle_id(world: World, person_id: str) -> int:
    [row] = world.moodle.users.find("idnumber", person_id)
    return row.id


def maths(world: World) -> int:
    [row] = world.moodle.courses.find("idnumber", "maths")
    return row.id


def test_nothing_differs_after_the_hub_has_done_its_work_and_moodle_is_only_read(world: World) -> None:
    world.moodle.calls.reset()
    found = reconciled(world)
    assert found["drifts"] == []
    assert found["compared"] == {"users": 3, "courses": 1, "enrolments": 3}
    assert found["calls"] == 3
    assert {name for name in world.moodle.calls.counters if FUNCTIONS[name].writes} == {MULTIPLEX}


def harm(world: World) -> None:
    """What an administrator of Moodle may do."""
    ann = {"userid": moodle_id(world, "ann"), "courseid": maths(world)}
    bob = {**ann, "userid": moodle_id(world, "bob"), "roleid": 5, "suspend": 1}
    call(world.moodle, "enrol_manual_unenrol_users", {"enrolments": [ann]})
    call(world.moodle, "enrol_manual_enrol_users", {"enrolments": [bob]})
    dan = {"id": moodle_id(world, "dan"), "lastname": "Renamed"}
    call(world.moodle, "core_user_update_users", {"users": [dan]})


def test_what_others_changed_is_told_and_mended_within_the_limit(world: World, tmp_path: Path) -> None:
    harm(world)
    expected = {
        ("ENROLMENT", "MISSING", "ann", ""),
        ("ENROLMENT", "SUSPENDED_ELSEWHERE", "bob", ""),
        ("USER", "DIFFERS", "dan", "last_name"),
    }
    found = reconciled(world)
    assert kinds(found) == expected
    assert "Renamed" not in json.dumps(found)
    text = world.hub("reconcile", "--csv", str(tmp_path / "drift.csv"), "--target", "enrolments")
    assert re.search(r"^enrolment +MISSING +1$", text, re.MULTILINE)
    rows = list(csv.DictReader((tmp_path / "drift.csv").read_text("utf-8").splitlines()))
    told = {(one["subject"], one["kind"], one["person_id"], one["fields"]) for one in rows}
    assert told == {one for one in expected if one[0] == "ENROLMENT"}
    before = world.rows(DIRECTIVES)
    with pytest.raises(Unsafe, match="3 changes, and --max-changes 10% allows 1: nothing was changed"):
        world.hub("reconcile", "--fix")
    assert (world.rows(AUDIT, "reconcile.fix"), world.rows(DIRECTIVES)) == ([], before)
    assert "3 asked for once more" in world.hub("reconcile", "--fix", "--max-changes", "50%", "--why", "tidy")
    again = "SELECT kind, person_id FROM read_model.standing WHERE generation = 2 ORDER BY 1, 2"
    world.until(again, ("ENROLMENT", "ann"), ("ENROLMENT", "bob"), ("USER", "dan"))
    assert reconciled(world)["drifts"] == []
    assert world.rows(AUDIT, "reconcile.fix") == [
        ("enrolment/ann/maths", "tidy", "MISSING"),
        ("enrolment/bob/maths", "tidy", "SUSPENDED_ELSEWHERE"),
        ("person/dan", "tidy", "DIFFERS"),
    ]
    assert world.moodle.users.find("idnumber", "dan")[0].lastname == "Last"


def test_an_account_that_was_deleted_is_made_anew_with_its_enrolments(world: World) -> None:
    gone = moodle_id(world, "dan")
    call(world.moodle, "core_user_delete_users", {"userids": [gone]})
    assert kinds(reconciled(world)) == {
        ("USER", "ORPHANED", "dan", ""),
        ("ENROLMENT", "MISSING", "dan", ""),
    }
    shown = world.hub("moodle_sync", "sync-users", "--dry-run")
    assert re.search(r"^user +ORPHANED +1$", shown, re.MULTILINE)
    assert "asked for once more" not in shown
    world.hub("sync", "users", "--max-changes", "1")
    anew = (
        "SELECT status FROM read_model.standing WHERE (kind, person_id, generation) = ('ENROLMENT', 'dan', 2)"
    )
    world.until(anew, ("ACTIVE",))
    assert reconciled(world)["drifts"] == []
    assert moodle_id(world, "dan") != gone
    assert world.moodle.enrolments.get(moodle_id(world, "dan"), maths(world)) is not None


@pytest.mark.faults
def test_a_fix_that_is_killed_half_way_asks_for_nothing_and_the_next_for_all(world: World) -> None:
    for name in ("ann", "bob"):
        entry = {"userid": moodle_id(world, name), "courseid": maths(world), "roleid": 5, "suspend": 1}
        call(world.moodle, "enrol_manual_enrol_users", {"enrolments": [entry]})
    decided = "SELECT count(*) FROM read_model.audit WHERE action = 'reconcile.fix'"
    in_outbox = "SELECT count(*) FROM outbox WHERE record::jsonb ->> 'action' = 'reconcile.fix'"
    before, acts = world.rows(DIRECTIVES), world.rows(decided)
    with (
        held_directives(world.database) as is_held,
        world.started("reconcile", "--fix", "--max-changes", "9"),
    ):
        until(is_held, 60)
        assert world.rows(in_outbox) == [(0,)], "nobody sees a part of it"
    until(lambda: not is_held(), 60)
    assert world.rows(in_outbox) == [(0,)]
    assert (world.rows(DIRECTIVES), world.rows(decided)) == (before, acts)
    assert len(reconciled(world)["drifts"]) == 2
    world.hub("reconcile", "--fix", "--max-changes", "9")
    until(lambda: reconciled(world)["drifts"] == [], 60)
    world.until(DIRECTIVES, (before[0][0] + 2,))
    world.until(decided, (acts[0][0] + 2,))


@contextmanager
def held_directives(database: str) -> Iterator[Callable[[], bool]]:
    """Hold whoever is about to put a directive into the outbox; tell whether somebody is held."""
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 4242"
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(4242)")
        holder.execute(_HOLD)
        try:
            yield lambda: bool(rows(database, waits))
        finally:
            holder.execute("SELECT pg_advisory_unlock(4242)")
            holder.execute("DROP FUNCTION hold_directive CASCADE")


def test_members_whom_the_hub_did_not_enrol_are_shown_only_on_demand(world: World) -> None:
    stranger = world.moodle.users.find("email", "lee@example.test")[0].id
    entry = {"userid": stranger, "courseid": maths(world)}
    call(world.moodle, "enrol_manual_enrol_users", {"enrolments": [{**entry, "roleid": 5}]})
    try:
        assert reconciled(world)["drifts"] == []
        [one] = reconciled(world, "--all", "--fix", "--max-changes", "0")["drifts"]
        assert (one["kind"], one["moodle_user_id"], one["fixable"]) == ("EXTRA", stranger, False)
    finally:
        call(world.moodle, "enrol_manual_unenrol_users", {"enrolments": [entry]})


def test_what_is_seen_of_accounts_and_enrolments_is_told_once(world: World) -> None:
    settings = Settings.model_validate({name.lower(): value for name, value in world.env.items()})
    place = where(settings, None, None)
    assert tell_users(place) == Observed(3, 3)
    assert tell_enrolments(place) == Observed(3, 3)
    assert tell_enrolments(place) == Observed(3, 0)
    world.until("SELECT count(*) FROM read_model.observed_users", (3,))
    seen = "SELECT person_id, status FROM read_model.observed_enrolments ORDER BY 1"
    world.until(seen, *((name, "ACTIVE") for name in PEOPLE))


def test_the_scheduled_run_for_grades_tells_them_once(world: World) -> None:
    settings = Settings.model_validate({name.lower(): value for name, value in world.env.items()})
    key = Key(TENANT, Work.GRADES, "default")
    set_grade(world.moodle, moodle_id(world, "ann"), maths(world), Decimal("77.5"))
    assert jobs.do(settings, key)
    assert jobs.do(settings, key)
    runs = "SELECT state, counts->>'seen', counts->>'told' FROM schedule_runs WHERE target = %s ORDER BY id"
    assert world.rows(runs, Work.GRADES.value) == [("SUCCESS", "1", "1"), ("SUCCESS", "1", "0")]
    told = "SELECT person_id, course_id, shown, score FROM read_model.grades"
    world.until(told, ("ann", "maths", "77.50", Decimal("77.5")))
    calls = "SELECT DISTINCT role, tenant FROM read_model.calls WHERE role = 'job-grades'"
    world.until(calls, ("job-grades", TENANT))


def test_an_existing_moodle_is_adopted_without_being_changed(world: World) -> None:
    waiting = [
        replace(person(name), account_policy=AccountPolicy.WHEN_ENROLLED, email=f"{email}@example.test")
        for name, email in (("kim", "KIM"), ("lea", "lee"), ("leo", "lee"), ("mia", "mia"), ("new", "new"))
    ]
    world.send(*waiting)
    world.until("SELECT count(*) FROM read_model.people", (8,))
    by_email = ("import", "moodle", "--rule", "email", "--json")

    def states() -> dict[str, str]:
        found = json.loads(world.hub(*by_email, "--dry-run"))["accounts"]
        return {one["id"]: one["state"] for one in found}

    known = dict.fromkeys(PEOPLE, "KNOWN")
    expected = {"kim": "LINK", "lea": "AMBIGUOUS", "leo": "AMBIGUOUS", "mia": "CLAIMED", "new": "NONE"}
    until(lambda: states() == known | expected, 60)
    world.moodle.calls.reset()
    rows = dict(world.moodle.users.rows)
    before = world.rows(DIRECTIVES)
    shown = world.hub("import", "moodle", "--rule", "email", "--why", "adopted")
    assert "1 are linked; nothing was changed in Moodle" in shown
    assert re.search(r"^account +lea +AMBIGUOUS +\d+ +leo *$", shown, re.MULTILINE)
    assert re.search(r"^account +mia +CLAIMED +\d+ +somebody *$", shown, re.MULTILINE)
    world.until(DIRECTIVES, (before[0][0] + 1,))
    kim = world.moodle.users.find("username", "kim-of-old")[0].id
    linked = "SELECT kind, subject, moodle_user_id, why FROM read_model.directives WHERE person_id = 'kim'"
    assert world.rows(linked) == [("LINK", "USER", kim, "adopted")]
    until(lambda: world.rows(AUDIT, "import.moodle") == [("site/default", "adopted", None)])
    until(lambda: states() == known | expected | {"kim": "KNOWN"}, 60)
    assert {name for name in world.moodle.calls.counters if FUNCTIONS[name].writes} == {MULTIPLEX}
    assert world.moodle.users.rows == rows
    world.send(enrolment("kim", "maths"))
    until(lambda: world.moodle.enrolments.get(kim, maths(world)) is not None, 60)
    assert world.moodle.users.find("username", "kim-of-old")[0].idnumber == "kim"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--max-changes", "ten"), "--max-changes: 'ten' is neither a number nor a percentage"),
        (("--site", "north"), "--site: there is no Moodle site 'north'; there are default"),
        (("--csv", "/no/such/folder/x.csv"), "--csv: /no/such/folder/x.csv cannot be written"),
    ],
)
def test_bad_arguments_are_named_with_the_reason(
    world: World, arguments: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(BadArgument, match=re.escape(expected)):
        world.hub("reconcile", *arguments)


def test_moodle_away_is_told_and_nothing_is_done(world: World) -> None:
    before = world.rows(DIRECTIVES)
    world.moodle.faults.add(Fault("maintenance_cli"))
    world.env["MOODLE_RATE_LIMIT_MAX_RETRIES"] = "0"
    try:
        with pytest.raises(RetryLater, match="Moodle"):
            world.hub("reconcile", "--fix")
        assert world.rows(DIRECTIVES) == before
        ended = CliRunner().invoke(app, ["test-connection"], env=world.env)
        assert ended.exit_code == 4
        assert re.search(r"^Moodle +FAILS: ", ended.output, re.MULTILINE)
        assert re.search(r"^Kafka +answers", ended.output, re.MULTILINE)
    finally:
        world.moodle.faults.clear()
        del world.env["MOODLE_RATE_LIMIT_MAX_RETRIES"]


def test_the_older_names_lead_to_the_commands(world: World) -> None:
    assert re.search(r"^Moodle +answers", world.hub("moodle_sync", "test"), re.MULTILINE)
    health = world.hub("moodle_sync", "health-check")
    assert re.search(r"^enrolment +(applied|unchanged) +\d+$", health, re.MULTILINE)
    assert "nothing differs" in world.hub("moodle_sync", "sync-courses", "--dry-run")


def test_what_is_on_its_way_is_counted_and_is_no_difference(world: World) -> None:
    """The last of this file: the sink backs off here."""
    world.moodle.faults.add(Fault("maintenance_cli", functions=["enrol_manual_enrol_users"]))
    event = enrolment("ann", "maths")
    world.send(replace(event, status=EnrolmentStatus.SUSPENDED, version_sequence=9))
    until(lambda: reconciled(world)["in_flight"] == 1, 60)
    found = reconciled(world)
    assert (found["in_flight"], found["drifts"]) == (1, [])
    world.moodle.faults.clear()
