"""What the simulated Moodle does beyond the recordings: as Moodle documents it."""

from typing import Any

import pytest

from connectors.moodle.client import MoodleClient
from connectors.moodle.site import missing_functions
from connectors.moodle_sink.settings import FUNCTIONS, Feature, functions
from infra.simulators.moodle import MoodleState, Seed, SeedCourse, SeedUser, Settings, seed, serve
from infra.simulators.moodle.errors import MoodleError
from infra.simulators.moodle.functions import call
from tests.unit.moodle_commands import moodle_settings


@pytest.fixture
def state() -> MoodleState:
    state = MoodleState(Settings(profile_fields=("division",)))
    seed(state, Seed(courses=[SeedCourse("C", startdate=1000)], users=[SeedUser("ann@example.test")]))
    for name in ("A", "B"):
        group = {"courseid": 2, "name": name, "description": "", "idnumber": name.lower()}
        call(state, "core_group_create_groups", {"groups": [group]})
    return state


def renamed(state: MoodleState, *entries: dict[str, Any]) -> dict[str, str]:
    assert call(state, "core_group_update_groups", {"groups": list(entries)}) is None
    return {
        row["idnumber"]: row["name"] for row in call(state, "core_group_get_course_groups", {"courseid": 2})
    }


def test_groups_are_renamed(state: MoodleState) -> None:
    assert renamed(state, {"id": 1, "name": "X"}, {"id": 2, "name": "B"}) == {"a": "X", "b": "B"}


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"id": 2, "name": "X"}, "invalidparameter"),
        ({"id": 2, "name": " "}, "invalidparameter"),
        ({"id": 9, "name": "Y"}, "invalidparameter"),
        ({"id": 2, "name": "Y", "idnumber": "a"}, "idnumbertaken"),
        ({"id": 2}, "invalidparameter"),
    ],
)
def test_a_refused_change_of_groups_changes_none(
    state: MoodleState, entry: dict[str, Any], code: str
) -> None:
    with pytest.raises(MoodleError) as caught:
        renamed(state, {"id": 1, "name": "X"}, entry)
    assert caught.value.errorcode == code
    assert renamed(state, {"id": 2, "name": "B"}) == {"a": "A", "b": "B"}


def test_members_are_read_for_several_groups_and_none_of_them_unknown(state: MoodleState) -> None:
    enrolment = {"roleid": 5, "userid": 4, "courseid": 2}
    call(state, "enrol_manual_enrol_users", {"enrolments": [enrolment]})
    call(state, "core_group_add_group_members", {"members": [{"groupid": 2, "userid": 4}]})

    def read(*ids: int) -> Any:
        return call(state, "core_group_get_group_members", {"groupids": list(ids)})

    assert read(1, 2) == [{"groupid": 1, "userids": []}, {"groupid": 2, "userids": [4]}]
    with pytest.raises(MoodleError, match="groups"):
        read(1, 9)


def test_profile_fields_that_the_site_has_are_kept_and_shown_when_filled(state: MoodleState) -> None:
    def shown(value: str) -> Any:
        fields = [{"type": "division", "value": value}, {"type": "nosuch", "value": "x"}]
        call(state, "core_user_update_users", {"users": [{"id": 4, "customfields": fields}]})
        [row] = call(state, "core_user_get_users_by_field", {"field": "id", "values": ["4"]})
        return row.get("customfields")

    assert shown("Arts") == [{"name": "division", "value": "Arts", "type": "text", "shortname": "division"}]
    assert shown("") is None


def test_an_end_date_without_its_start_date_is_refused_also_where_the_course_has_one(
    state: MoodleState,
) -> None:
    def warnings(**dates: int) -> list[str]:
        answer = call(state, "core_course_update_courses", {"courses": [{"id": 2, **dates}]})
        return [row["warningcode"] for row in answer["warnings"]]

    assert warnings(enddate=2000) == ["nostartdatenoenddate"]
    assert warnings(enddate=2000, startdate=1000) == []


@pytest.mark.parametrize(
    ("bad", "code"), [({"roleid": 8}, "invalidparameter"), ({"instanceid": 99_999}, "invalidrecord")]
)
def test_roles_are_taken_all_or_none(state: MoodleState, bad: dict[str, int], code: str) -> None:
    entry = {"roleid": 5, "userid": 4, "contextlevel": "course", "instanceid": 2}
    call(state, "core_role_assign_roles", {"assignments": [entry]})
    with pytest.raises(MoodleError) as refused:
        call(state, "core_role_unassign_roles", {"unassignments": [entry, {**entry, **bad}]})
    assert refused.value.errorcode == code
    assert state.roles_of(4, 2) == (5,)
    absent = {**entry, "roleid": 3}
    assert call(state, "core_role_unassign_roles", {"unassignments": [entry, absent]}) is None
    assert state.roles_of(4, 2) == ()


@pytest.mark.parametrize(
    ("recorded", "missing"),
    [(False, []), (True, ["core_group_get_group_members", "core_group_update_groups"])],
)
async def test_all_functions_of_the_sink_are_allowed_but_those_not_recorded(
    recorded: bool, missing: list[str]
) -> None:
    state = MoodleState(Settings(recorded_service=recorded))
    async with serve(state) as url, MoodleClient(moodle_settings(url, state)) as moodle:
        assert await missing_functions(moodle, functions(Feature)) == missing
        assert await missing_functions(moodle, functions([])) == []
    assert functions([]) == FUNCTIONS
