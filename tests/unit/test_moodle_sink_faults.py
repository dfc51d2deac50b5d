"""What Moodle's trouble does to a batch: nothing is lost, nothing is done twice, no record is blamed."""

import random
from typing import Any

import pytest

from connectors.moodle.faults import UnknownOutcome
from connectors.moodle_sink.courses import CREATE as CREATE_COURSES
from connectors.moodle_sink.enrolments import ENROL
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from connectors.moodle_sink.users import BY_FIELD, CREATE, UPDATE
from infra.calls import Call
from infra.errors import RetryLater, Stop
from infra.simulators.moodle import (
    Fault,
    MoodleState,
    Seed,
    SeedCourse,
    SeedUser,
    Settings,
    seed,
    serve,
)
from schemas.moodle import Action, MoodleCommand, MoodleResult, Outcome
from schemas.topics import COMMANDS, MOODLE_DEAD_LETTERS, RESULTS
from tests.unit.moodle_commands import (
    TARGET,
    Bench,
    bench,
    course,
    enrolment,
    moodle_settings,
    person,
    results_of,
)

NEW_COURSE: dict[str, Any] = {"create": True, "full_name": "A course"}
PEOPLE = 400
ENROLMENTS = 40


def furnished(state: MoodleState) -> None:
    """Two courses and the people who are enrolled in the batch of `mixed`."""
    users = [SeedUser(f"known{n}@example.test", idnumber=f"KNOWN{n}") for n in range(ENROLMENTS)]
    seed(state, Seed(users=users, courses=[SeedCourse("A", idnumber="A"), SeedCourse("B", idnumber="B")]))


def mixed() -> list[MoodleCommand]:
    """New people, an update, new courses and enrolments, so that every function is called."""
    update = person(0, person_id="KNOWN0", email="known0@example.test", first_name="New", last_name="Last")
    return [
        *map(person, range(PEOPLE)),
        update,
        *(course(n, short_name=f"S{n}", **NEW_COURSE) for n in range(3)),
        *(enrolment(4 + n, 2 + n % 2) for n in range(ENROLMENTS)),
    ]


def check_all_done(state: MoodleState, results: list[MoodleResult]) -> None:
    """Everything that `mixed` wishes is there once, and reported as done."""
    assert {result.outcome for result in results} == {Outcome.APPLIED}
    actions = [result.action for result in results]
    assert actions == (
        [Action.CREATED] * PEOPLE + [Action.UPDATED] + [Action.CREATED] * 3 + [Action.ENROLLED] * ENROLMENTS
    )
    for number in range(PEOPLE):
        [row] = state.users.find("idnumber", f"GUID{number}")
        assert results[number].moodle_user_id == row.id
    assert [len(state.courses.find("idnumber", str(n))) for n in range(3)] == [1] * 3
    assert len(state.enrolments) == ENROLMENTS


async def write_until_done(b: Bench, commands: list[MoodleCommand]) -> tuple[list[MoodleResult], int]:
    """Give the batch again while Moodle is in trouble; give the results and the number of failures."""
    for failures in range(20):
        try:
            return await b.write(*commands), failures
        except (RetryLater, Stop):
            continue
    pytest.fail("the batch is never done")


OUTAGES = [
    Fault("too_many_requests", retry_after=60),
    Fault("maintenance_cli"),
    Fault("maintenance_ui"),
    Fault("upgrade_running"),
    Fault("database_down"),
    Fault("server_error"),
    Fault("bad_gateway"),
    Fault("connection_reset"),
]


@pytest.mark.parametrize("skip", [0, 3, 6])
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda fault: fault.kind)
async def test_an_outage_at_any_call_loses_nothing_and_blames_nobody(outage: Fault, skip: int) -> None:
    async with bench(prepare=furnished, max_retries=1) as b:
        fault = Fault(outage.kind, skip=skip, retry_after=outage.retry_after, status=outage.status)
        b.state.faults.add(fault)
        commands = mixed()
        with pytest.raises(RetryLater):
            await b.write(*commands)
        b.state.faults.clear()
        results, failures = await write_until_done(b, commands)
        check_all_done(b.state, results)
    assert failures == 0


async def test_a_retry_after_is_told_to_the_runtime() -> None:
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault("too_many_requests", retry_after=77))
        with pytest.raises(RetryLater) as caught:
            await b.write(*mixed())
    assert caught.value.retry_after == 77


async def test_a_short_trouble_is_overcome_within_the_batch() -> None:
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault("too_many_requests", count=2, retry_after=0))
        b.state.faults.add(Fault("database_down", count=2, skip=3))
        check_all_done(b.state, await b.write(*mixed()))


@pytest.mark.parametrize("kind", ["timeout_after_commit", "reset_after_commit", "worker_killed"])
@pytest.mark.parametrize("function", [CREATE, UPDATE, CREATE_COURSES, ENROL])
async def test_after_an_unknown_outcome_nothing_is_done_twice(kind: str, function: str) -> None:
    async with bench(prepare=furnished, timeout=1.0 if kind == "timeout_after_commit" else 10.0) as b:
        b.state.faults.add(Fault(kind, functions=[function], count=1))
        results, failures = await write_until_done(b, commands := mixed())
        check_all_done(b.state, results)
    assert failures >= 1
    assert len(commands) == len(results)


async def test_accounts_that_moodle_commits_late_are_found_and_not_blamed() -> None:
    """An earlier request, given up by the client, commits between our look-up and our creation."""
    people = [person(n) for n in range(50)]
    late = [
        SeedUser(f"user{n}@example.test", f"user{n}@example.test", idnumber=f"GUID{n}") for n in range(30)
    ]

    def commit_late(state: MoodleState, call: Call) -> None:
        if call.function == BY_FIELD:
            seed(state, Seed(users=late))

    async with bench(after_call=commit_late) as b:
        results = await b.write(*people)
        assert [len(b.state.users.find("idnumber", f"GUID{n}")) for n in range(50)] == [1] * 50
    # The late ones have other names here, so that they are updated.
    assert [result.action for result in results] == [Action.UPDATED] * 30 + [Action.CREATED] * 20


@pytest.mark.parametrize(
    "kind", ["token_revoked", "token_expired", "access_denied", "user_suspended", "web_services_off"]
)
@pytest.mark.parametrize("skip", [0, 5])
async def test_wrong_credentials_stop_the_batch_and_keep_it(kind: str, skip: int) -> None:
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault(kind, skip=skip))
        commands = mixed()
        with pytest.raises(Stop):
            await b.write(*commands)
        b.state.faults.clear()
        check_all_done(b.state, await b.write(*commands))


@pytest.mark.parametrize("seed_number", range(12))
async def test_any_row_of_troubles_ends_as_an_undisturbed_batch(seed_number: int) -> None:
    chance = random.Random(seed_number)
    kinds = [*(fault.kind for fault in OUTAGES), "reset_after_commit", "worker_killed", "token_revoked"]
    async with bench(prepare=furnished, max_retries=1) as b:
        for _ in range(6):
            b.state.faults.add(Fault(chance.choice(kinds), skip=chance.randrange(12), count=2, retry_after=0))
        results, failures = await write_until_done(b, mixed())
        check_all_done(b.state, results)
    assert failures > 0


async def test_a_restarted_sink_finds_what_its_predecessor_did() -> None:
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault("bad_gateway", skip=6))
        commands = mixed()
        with pytest.raises(UnknownOutcome):
            await b.write(*commands)
        b.state.faults.clear()
        sink = MoodleSink(
            SinkSettings(),
            moodle_settings(b.state.settings.url, b.state),
            commands=COMMANDS.of(TARGET),
            results=RESULTS.of(TARGET),
            dead_letters=MOODLE_DEAD_LETTERS.of(TARGET),
        )
        await sink.open()
        try:
            results = await results_of(sink, commands)
        finally:
            await sink.close()
        accounts = [b.state.users.find("idnumber", f"GUID{n}") for n in range(PEOPLE)]
        assert [row.id for [row] in accounts] == [result.moodle_user_id for result in results[:PEOPLE]]
        assert len(b.state.enrolments) == ENROLMENTS
    assert {result.outcome for result in results} <= {Outcome.APPLIED, Outcome.UNCHANGED}


@pytest.mark.parametrize("limit", [300, 100, 40])
async def test_a_site_that_takes_fewer_variables_than_configured_gets_smaller_requests(limit: int) -> None:
    async with bench(prepare=furnished, site=Settings(max_input_vars=limit), max_input_vars=5000) as b:
        results = await b.write(*mixed())
        check_all_done(b.state, results)
        for row in b.state.users:
            assert not row.username.startswith("user") or (row.idnumber and row.auth == "oauth2")


async def test_the_site_going_down_between_two_batches_leaves_no_trace_of_the_first() -> None:
    async with bench() as b:
        [first] = await b.write(person(1))
        b.state.faults.add(Fault("maintenance_ui"))
        with pytest.raises(RetryLater):
            await b.write(person(1), person(2))
        b.state.faults.clear()
        again, second = await b.write(person(1), person(2))
    assert (first.action, again.outcome, second.action) == (
        Action.CREATED,
        Outcome.UNCHANGED,
        Action.CREATED,
    )


async def test_no_connection_is_told_as_retry() -> None:
    async with serve(MoodleState()) as url:
        pass
    state = MoodleState()
    sink = MoodleSink(
        SinkSettings(),
        moodle_settings(url, state, max_retries=0),
        commands=COMMANDS.of(TARGET),
        results=RESULTS.of(TARGET),
        dead_letters=MOODLE_DEAD_LETTERS.of(TARGET),
    )
    await sink.open()
    try:
        with pytest.raises(RetryLater):
            await sink.write([person(1)])
    finally:
        await sink.close()


async def test_a_thousand_new_enrolments_of_new_people_take_at_most_twenty_calls() -> None:
    def courses(state: MoodleState) -> None:
        seed(state, Seed(courses=[SeedCourse(f"C{n}", idnumber=str(n)) for n in range(20)]))

    async with bench(prepare=courses) as b:
        classes = await b.write(*map(course, range(20)))
        people = await b.write(*map(person, range(1000)))
        wishes = []
        for number, result in enumerate(people):
            user, place = result.moodle_user_id, classes[number % 20].moodle_course_id
            assert user is not None
            assert place is not None
            wishes.append(enrolment(user, place, state_is_known=True))
        results = await b.write(*wishes)
        assert len(b.state.enrolments) == 1000
        assert {call.code for call in b.calls} == {"ok"}
        assert len(b.calls) <= 20
    assert {result.action for result in results} == {Action.ENROLLED}
