from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from connectors.moodle_sink.accounts import account, step
from connectors.moodle_sink.verdicts import Verdict
from infra.simulators.moodle import Fault, MoodleState, Seed, SeedUser, seed
from infra.simulators.moodle.state import ADMIN, User
from schemas.ids import MoodleUserId, PersonId
from schemas.moodle import Action, MoodleCommand, MoodleResult, Outcome, UserWish
from schemas.reasons import Reason
from tests.unit.moodle_commands import bench, person

CREATE = "core_user_create_users"
UPDATE = "core_user_update_users"


def with_users(*users: SeedUser) -> Callable[[MoodleState], object]:
    return lambda state: seed(state, Seed(users=list(users)))


def account_of(state: MoodleState, idnumber: str) -> User:
    [row] = state.users.find("idnumber", idnumber)
    return row


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


async def test_a_missing_account_is_created_without_a_password_and_named() -> None:
    async with bench() as b:
        [result] = await b.write(person(1))
        made = account_of(b.state, "GUID1")
    assert brief(result) == (Outcome.APPLIED, Action.CREATED, None)
    assert result.moodle_user_id == made.id
    assert (made.auth, made.username, made.email) == ("oauth2", "user1@example.test", "user1@example.test")
    assert (made.firstname, made.lastname, made.confirmed) == ("First1", "Last1", 1)


async def test_a_manual_account_is_created_with_a_password_that_moodle_makes() -> None:
    async with bench() as b:
        [result] = await b.write(person(1, auth="manual"))
        assert brief(result) == (Outcome.APPLIED, Action.CREATED, None)
        assert account_of(b.state, "GUID1").auth == "manual"


async def test_an_account_as_wished_is_left_alone() -> None:
    async with bench() as b:
        [first] = await b.write(person(1))
        [again] = await b.write(person(1, email="USER1@Example.test"))
        assert brief(again) == (Outcome.UNCHANGED, Action.NONE, None)
        assert again.moodle_user_id == first.moodle_user_id
        assert b.called().count(CREATE) == 1
        assert UPDATE not in b.called()


async def test_a_changed_name_is_updated_and_nothing_else() -> None:
    async with bench() as b:
        await b.write(person(1))
        [result] = await b.write(person(1, last_name="Nouvelle", username="other"))
        row = account_of(b.state, "GUID1")
    assert brief(result) == (Outcome.APPLIED, Action.UPDATED, None)
    assert (row.firstname, row.lastname, row.username) == ("First1", "Nouvelle", "user1@example.test")


@pytest.mark.parametrize("name", ["O'Brien & Söhne 漢😀", "a < b", "Ольга"])
async def test_a_name_that_moodle_shows_escaped_is_not_updated_again(name: str) -> None:
    async with bench() as b:
        await b.write(person(1, last_name=name))
        [result] = await b.write(person(1, last_name=name))
        assert brief(result) == (Outcome.UNCHANGED, Action.NONE, None)


def test_names_are_compared_as_they_were_before_moodle_escaped_them() -> None:
    row = {"id": 7, "idnumber": "GUID1", "email": "a@example.test", "firstname": "R&amp;D", "lastname": "B"}
    wish = UserWish(person_id=PersonId("GUID1"), create=True, first_name="R&D", last_name="B")
    assert step(wish, [account(row)]) == Verdict(outcome=Outcome.UNCHANGED, moodle_user_id=MoodleUserId(7))


async def test_without_the_wish_to_create_a_missing_account_is_reported() -> None:
    async with bench() as b:
        [result] = await b.write(person(1, create=False))
        assert brief(result) == (Outcome.NOT_FOUND, Action.NONE, Reason.USER_NOT_FOUND)
        assert b.state.users.find("idnumber", "GUID1") == []


async def test_another_address_under_the_same_id_is_a_conflict_and_changes_nothing() -> None:
    async with bench() as b:
        await b.write(person(1))
        before = account_of(b.state, "GUID1")
        [result] = await b.write(person(1, email="somebody@example.test", last_name="Other"))
        assert account_of(b.state, "GUID1") == before
    assert brief(result) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_MISMATCH)
    assert result.moodle_user_id == before.id


def moved(number: int, email: str, **changes: Any) -> MoodleCommand:
    return person(number, email=email, update_email=True, **changes)


async def test_another_address_is_brought_to_the_account_where_that_is_wished() -> None:
    async with bench() as b:
        await b.write(person(1))
        before = account_of(b.state, "GUID1")
        [result] = await b.write(moved(1, " New@example.test ", last_name="Nouvelle"))
        after = account_of(b.state, "GUID1")
        assert (after.id, after.email, after.lastname) == (before.id, "New@example.test", "Nouvelle")
        assert after.username == before.username
        [again] = await b.write(moved(1, "new@example.test", last_name="Nouvelle"))
        assert b.called().count(UPDATE) == 1
    assert brief(result) == (Outcome.APPLIED, Action.UPDATED, None)
    assert brief(again) == (Outcome.UNCHANGED, Action.NONE, None)


@pytest.mark.parametrize("owned", ["taken@example.test", "Taken@Example.TEST"])
async def test_an_address_of_somebody_else_is_not_brought_to_the_account(owned: str) -> None:
    async with bench(prepare=with_users(SeedUser(owned, username="somebody"))) as b:
        await b.write(person(1), person(2))
        [owner] = b.state.users.find("username", "somebody")
        taken, good = await b.write(moved(1, "taken@example.test"), moved(2, "free@example.test"))
        mine = account_of(b.state, "GUID1")
        assert (mine.email, account_of(b.state, "GUID2").email) == ("user1@example.test", "free@example.test")
    assert brief(taken) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_TAKEN)
    assert (taken.moodle_user_id, taken.other_moodle_user_id) == (mine.id, owner.id)
    assert brief(good) == (Outcome.APPLIED, Action.UPDATED, None)


async def test_of_two_accounts_that_change_to_one_address_the_second_is_a_conflict() -> None:
    async with bench(batch_size=1) as b:
        await b.write(person(1), person(2))
        b.state.faults.add(Fault("latency", functions=[UPDATE], seconds=0.05))
        results = await b.write(moved(1, "one@example.test"), moved(2, "One@example.test"))
        one, other = (call for call in b.calls if call.function == UPDATE)
        assert other.started >= one.started + one.seconds  # never side by side: Moodle would let both through
        first = account_of(b.state, "GUID1").id
    assert brief(results[0]) == (Outcome.APPLIED, Action.UPDATED, None)
    assert brief(results[1]) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_TAKEN)
    assert results[1].other_moodle_user_id == first


@pytest.mark.parametrize("email", ["no address", "a..b@example.test", ""])
async def test_an_address_that_moodle_refuses_is_told(email: str) -> None:
    async with bench() as b:
        await b.write(person(1), person(2))
        bad, good = await b.write(moved(1, email), moved(2, "free@example.test"))
        assert account_of(b.state, "GUID1").email == "user1@example.test"
    assert brief(bad) == (Outcome.REJECTED, Action.NONE, Reason.INVALID_FIELD)
    assert brief(good) == (Outcome.APPLIED, Action.UPDATED, None)


async def test_several_accounts_with_one_id_are_a_conflict() -> None:
    users = [SeedUser("a@example.test", idnumber="GUID1"), SeedUser("b@example.test", idnumber="GUID1")]
    async with bench(prepare=with_users(*users)) as b:
        [result] = await b.write(person(1, email="a@example.test"))
        assert brief(result) == (Outcome.CONFLICT, Action.NONE, Reason.IDNUMBER_AMBIGUOUS)


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (SeedUser("user13@example.test", username="somebody"), Reason.EMAIL_TAKEN),
        (SeedUser("User13@Example.TEST", username="somebody"), Reason.EMAIL_TAKEN),
        (SeedUser("somebody@example.test", username="user13@example.test"), Reason.USERNAME_TAKEN),
    ],
)
async def test_whoever_owns_the_address_or_username_is_named_and_the_others_go_on(
    owner: SeedUser, reason: Reason
) -> None:
    async with bench(prepare=with_users(owner)) as b:
        [other] = [row.id for row in b.state.users if row.email == owner.email]
        results = await b.write(*map(person, range(60)))
        assert len(b.state.users.find("email", "user59@example.test")) == 1
        calls = b.called().count(CREATE)
    assert brief(results[13]) == (Outcome.CONFLICT, Action.NONE, reason)
    assert results[13].other_moodle_user_id == other
    rest = results[:13] + results[14:]
    assert {brief(result) for result in rest} == {(Outcome.APPLIED, Action.CREATED, None)}
    assert calls <= 3  # found by look-up, not by halving


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"last_name": "  "}, Reason.INVALID_FIELD),
        ({"first_name": None}, Reason.INVALID_FIELD),
        ({"first_name": "<b>Anna</b>"}, Reason.INVALID_FIELD),
        ({"last_name": "L" * 101}, Reason.VALUE_TOO_LONG),
        ({"username": "x" * 101}, Reason.VALUE_TOO_LONG),
        ({"username": "a+b@example.test"}, Reason.INVALID_FIELD),
        ({"username": "o'neil@example.test"}, Reason.INVALID_FIELD),
        ({"username": "Upper@example.test"}, Reason.INVALID_FIELD),
        ({"email": "user@localhost"}, Reason.INVALID_FIELD),
        ({"email": "no address"}, Reason.INVALID_FIELD),
        ({"email": None}, Reason.INVALID_FIELD),
        ({"person_id": " "}, Reason.INVALID_FIELD),
        ({"person_id": "G" * 256}, Reason.VALUE_TOO_LONG),
    ],
)
async def test_what_moodle_would_surely_refuse_costs_no_failed_call(
    wish: dict[str, Any], reason: Reason
) -> None:
    async with bench() as b:
        good, bad = await b.write(person(1), person(2, **wish))
        assert [call.code for call in b.calls] == ["ok", "ok"]
    assert brief(good) == (Outcome.APPLIED, Action.CREATED, None)
    assert brief(bad) == (Outcome.REJECTED, Action.NONE, reason)


@pytest.mark.parametrize(
    "wish", [{"auth": "nosuchplugin"}, {"email": "a..b@example.test"}], ids=["auth", "email"]
)
async def test_one_that_only_moodle_refuses_is_found_among_good_ones(wish: dict[str, Any]) -> None:
    async with bench() as b:
        commands = [person(n, **(wish if n == 21 else {})) for n in range(50)]
        results = await b.write(*commands)
        assert sum(row.idnumber.startswith("GUID") for row in b.state.users) == 49
    assert brief(results[21]) == (Outcome.REJECTED, Action.NONE, Reason.INVALID_FIELD)
    assert sum(result.action is Action.CREATED for result in results) == 49


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"email": "USER1@example.test"}, Reason.EMAIL_TAKEN),
        ({"username": "user1@example.test"}, Reason.USERNAME_TAKEN),
    ],
)
async def test_of_two_people_with_one_address_the_second_is_a_conflict(
    second: dict[str, Any], reason: Reason
) -> None:
    async with bench() as b:
        first, other, third = await b.write(person(1), person(2, **second), person(3))
        assert [call.code for call in b.calls] == ["ok", "ok"]
    assert [first.action, third.action] == [Action.CREATED] * 2
    assert brief(other) == (Outcome.CONFLICT, Action.NONE, reason)
    assert other.other_moodle_user_id == first.moodle_user_id


async def test_the_second_with_an_address_is_created_if_the_first_could_not_be() -> None:
    async with bench() as b:
        first, second = await b.write(person(1, auth="nosuchplugin"), person(2, email="user1@example.test"))
    assert first.outcome is Outcome.REJECTED
    assert brief(second) == (Outcome.APPLIED, Action.CREATED, None)


async def test_an_account_that_moodle_protects_is_found_among_good_updates() -> None:
    def give_admin_an_id(state: MoodleState) -> None:
        with state.transaction():
            admin = state.users.rows[(ADMIN,)]
            state.put(state.users, msgspec.structs.replace(admin, idnumber="GUID0"))

    async with bench(prepare=give_admin_an_id) as b:
        await b.write(person(1), person(2))
        wishes: list[MoodleCommand] = [
            person(0, email="admin@example.test", last_name="New"),
            person(1, last_name="New"),
            person(2, last_name="New"),
        ]
        results = await b.write(*wishes)
        assert b.state.users.rows[(ADMIN,)].lastname == "User"
    assert brief(results[0]) == (Outcome.REJECTED, Action.NONE, Reason.USER_PROTECTED)
    assert [result.action for result in results[1:]] == [Action.UPDATED] * 2


async def test_only_the_last_command_for_a_person_is_applied() -> None:
    async with bench() as b:
        results = await b.write(person(1, last_name="Old"), person(2), person(1, last_name="New"))
        assert account_of(b.state, "GUID1").lastname == "New"
    assert brief(results[0]) == (Outcome.SUPERSEDED, Action.NONE, Reason.NEWER_COMMAND)
    assert [result.action for result in results[1:]] == [Action.CREATED] * 2


async def test_a_command_without_its_body_is_rejected_alone() -> None:
    async with bench() as b:
        bodiless, good = await b.write(replace(person(1), user=None), person(2))
    assert brief(bodiless) == (Outcome.REJECTED, Action.NONE, Reason.INVALID_FIELD)
    assert good.action is Action.CREATED
