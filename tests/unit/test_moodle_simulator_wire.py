"""How the simulated Moodle reads forms as PHP does, and how strictly it takes its parameters."""

from typing import Any

import pytest

from infra.simulators.moodle import MoodleState, Seed, SeedCourse, SeedEnrolment, SeedUser, costs, seed
from infra.simulators.moodle.calls import entries
from infra.simulators.moodle.errors import MoodleError, NotSimulatedError
from infra.simulators.moodle.functions import call
from infra.simulators.moodle.php import form, pairs, to_json
from infra.simulators.moodle.text import date_text, formatted

FORMS = [
    ("a=1&b=2", {"a": "1", "b": "2"}),
    ("a[0][x]=1&a[0][y]=2&a[1][x]=3", {"a": {0: {"x": "1", "y": "2"}, 1: {"x": "3"}}}),
    ("a[]=1&a[]=2", {"a": {0: "1", 1: "2"}}),
    ("a%5B0%5D=%26+%C3%A9", {"a": {0: "& é"}}),
    ("a=1&a=2", {"a": "2"}),
    ("a[x]=1&a=2", {"a": "2"}),
    ("a=1&a[x]=2", {"a": {"x": "2"}}),
    ("a[00]=1&a[-1]=2", {"a": {"00": "1", -1: "2"}}),
    ("a.b=1&c d=2", {"a_b": "1", "c_d": "2"}),
    ("a", {"a": ""}),
    ("", {}),
]


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_form_is_nested_as_php_nests_it(text: str, expected: dict[str, Any]) -> None:
    assert form(pairs(text), 100) == expected


@pytest.mark.parametrize(("limit", "kept"), [(0, 1), (3, 4), (8, 9), (9, 10), (20, 10)])
def test_form_is_cut_one_variable_after_the_limit(limit: int, kept: int) -> None:
    assert len(form([(f"v{n}", "x") for n in range(10)], limit)) == kept


def test_json_is_ascii_with_escaped_slashes() -> None:
    assert to_json({"a": "é/", "b": [None, True]}) == '{"a":"\\u00e9\\/","b":[null,true]}'


def entry(**changes: object) -> dict[str, object]:
    user = {
        "username": "ann",
        "firstname": "A",
        "lastname": "L",
        "email": "ann@example.test",
        "auth": "oauth2",
    }
    return user | changes


WRONG_USERS = [
    ({"email": " ann@example.test"}, "email"),
    ({"email": "ann@@example.test"}, "Email address is invalid"),
    ({"email": "ann..b@example.test"}, "Email address is invalid"),
    ({"email": "änn@example.test"}, "Email address is invalid"),
    ({"firstname": "<i>A"}, "firstname"),
    ({"username": "Ann"}, "username"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"password": ["x"], "auth": "manual"}, "Scalar type expected"),
    ({"firstname": None}, "firstname"),
    ({"createpassword": "yes"}, "createpassword"),
    ({"colour": "red"}, "Unexpected keys (colour)"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG_USERS)
def test_bad_user_is_refused_and_only_the_hidden_text_says_why(changes: dict[str, Any], reason: str) -> None:
    state = MoodleState()
    with pytest.raises(MoodleError) as caught:
        call(state, "core_user_create_users", {"users": [entry(), entry(username="bob") | changes]})
    assert caught.value.errorcode == "invalidparameter"
    assert reason in caught.value.debuginfo
    assert "debuginfo" not in caught.value.body(debug=False)
    assert len(state.users) == 3


@pytest.mark.parametrize("field", ["description", "preferences"])
def test_what_is_not_simulated_is_said_aloud(field: str) -> None:
    value: object = [{"type": "a", "value": "b"}] if field == "preferences" else "x"
    with pytest.raises(NotSimulatedError, match=field):
        call(MoodleState(), "core_user_create_users", {"users": [entry(**{field: value})]})


def test_lookup_by_a_username_that_is_no_username_is_refused() -> None:
    with pytest.raises(MoodleError, match="invalidparameter"):
        call(MoodleState(), "core_user_get_users_by_field", {"field": "username", "values": ["Ann"]})


def test_mass_of_people_is_looked_up_and_read_in_pages() -> None:
    state = MoodleState()
    seed(state, Seed(courses=[SeedCourse("A", idnumber="1")]))
    seed(state, Seed(users=[SeedUser(f"u{n}@example.test", idnumber=f"G{n:06}") for n in range(3000)]))
    seed(state, Seed(enrolments=[SeedEnrolment(userid, 2) for userid in range(4, 3004)]))
    rows = []
    for page in range(4):
        wish = {"reportid": 4, "page": page, "perpage": 1000}
        rows += call(state, "core_reportbuilder_retrieve_report", wish)["data"]["rows"]
    assert [row["columns"][0] for row in rows] == [f"G{n:06}" for n in range(3000)]
    values = [f"G{n:06}" for n in range(2990, 3010)]
    found = call(state, "core_user_get_users_by_field", {"field": "idnumber", "values": values})
    assert len(found) == 10


def test_report_follows_changes_between_pages() -> None:
    state = MoodleState()
    seed(
        state,
        Seed(courses=[SeedCourse("A", idnumber="1")], users=[SeedUser("a@example.test", idnumber="G1")]),
    )
    seed(state, Seed(enrolments=[SeedEnrolment(4, 2)]))

    def status() -> str:
        report = call(state, "core_reportbuilder_retrieve_report", {"reportid": 4})
        return str(report["data"]["rows"][0]["columns"][4])

    assert status() == "Active"
    suspend = {"roleid": 5, "userid": 4, "courseid": 2, "suspend": 1}
    call(state, "enrol_manual_enrol_users", {"enrolments": [suspend]})
    assert status() == "Suspended"


@pytest.mark.parametrize(
    ("stamp", "zone", "text"),
    [
        (1795238023, "UTC", "Saturday, 21 November 2026, 5:13 AM"),
        (1795238023, "America/Los_Angeles", "Friday, 20 November 2026, 9:13 PM"),
        (1795219200, "UTC", "Saturday, 21 November 2026, 12:00 AM"),
        (1795262400, "UTC", "Saturday, 21 November 2026, 12:00 PM"),
        (None, "UTC", ""),
        (0, "UTC", ""),
    ],
)
def test_dates_are_english_texts_to_the_minute(stamp: int | None, zone: str, text: str) -> None:
    assert date_text(stamp, zone) == text


@pytest.mark.parametrize(
    ("name", "read"), [("R&D", "R&amp;D"), ("R&amp;D", "R&amp;D"), ("a & b", "a &amp; b"), ("&#38;", "&#38;")]
)
def test_ampersand_is_read_back_as_an_entity(name: str, read: str) -> None:
    assert formatted(name) == read


def test_recorded_costs_reproduce_the_recorded_rates() -> None:
    def per_second(function: str, batch: int, present: int = 5000) -> float:
        params: dict[str, Any] = {"list": {n: {} for n in range(batch)}}
        spent = costs.milliseconds(function, params, None, entries(params), present)
        return 1000 * batch / spent

    assert per_second("core_user_create_users", 1) == pytest.approx(55, rel=0.05)
    assert per_second("core_user_create_users", 500) == pytest.approx(325, rel=0.05)
    assert per_second("core_user_create_users", 500, 100_000) == pytest.approx(36, rel=0.05)
    assert per_second("enrol_manual_enrol_users", 500) == pytest.approx(237, rel=0.05)
    assert per_second("core_user_get_users_by_field", 100) == pytest.approx(385, rel=0.05)
    assert per_second("core_user_update_users", 500) == pytest.approx(676, rel=0.06)


@pytest.mark.parametrize("in_progress", [1, 2, 4, 8])
def test_parallel_calls_gain_up_to_the_recorded_factor(in_progress: int) -> None:
    alone = 100.0
    together = costs.stretched(alone, "core_user_create_users", in_progress)
    gain = in_progress * alone / together
    assert gain == pytest.approx({1: 1.0, 2: 1.467, 4: 2.4, 8: 2.4}[in_progress], rel=0.01)
