"""The control endpoint of the simulated Moodle, and what it makes visible through the web services."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from infra.simulators.moodle import MoodleState, Settings, serve

PATH = "/webservice/rest/server.php"
NOW = 1795238023  # 21 November 2026, 05:13:43 UTC


@pytest.fixture
def state() -> MoodleState:
    return MoodleState(Settings(token="secret-of-test"), clock=lambda: float(NOW))


@pytest.fixture
async def client(state: MoodleState) -> AsyncIterator[ClientSession]:
    async with serve(state) as url, ClientSession(url) as session:
        yield session


async def call(client: ClientSession, function: str, **params: object) -> Any:
    head = {"wstoken": "secret-of-test", "wsfunction": function, "moodlewsrestformat": "json"}
    data = head | {name: str(value) for name, value in params.items()}
    async with client.post(PATH, data=data) as response:
        assert response.status == 200
        return await response.json()


async def control(client: ClientSession, method: str, path: str, body: object = None) -> Any:
    async with client.request(method, f"/control/{path}", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def seeded(client: ClientSession, learners: int = 3) -> dict[str, list[int]]:
    """Two courses, of which the first tells its completions, with all learners in both."""
    courses = [
        {"shortname": "ITEM-1", "idnumber": "30001", "completion_opt_in": True},
        {"shortname": "ITEM-2", "idnumber": "30002"},
    ]
    users = [{"email": f"L{n}@example.test", "idnumber": f"G{n:03}"} for n in range(learners)]
    ids: dict[str, list[int]] = await control(client, "POST", "seed", {"courses": courses, "users": users})
    pairs = [{"userid": user, "courseid": course} for course in ids["courses"] for user in ids["users"]]
    await control(client, "POST", "seed", {"enrolments": pairs})
    return ids


async def test_seed_is_seen_through_the_web_services(client: ClientSession) -> None:
    ids = await seeded(client)
    users = await call(client, "core_user_get_users_by_field", field="idnumber", **{"values[0]": "G001"})
    assert [(user["id"], user["username"]) for user in users] == [(ids["users"][1], "l1@example.test")]
    found = await call(client, "core_course_get_courses_by_field", field="idnumber", value="30001")
    opt_in = found["courses"][0]["customfields"][0]
    assert (opt_in["shortname"], opt_in["valueraw"]) == ("completion_opt_in", 1)
    members = await call(client, "core_enrol_get_enrolled_users", courseid=ids["courses"][0])
    assert [member["id"] for member in members] == ids["users"]
    counts = await control(client, "GET", "state")
    assert (counts["users"], counts["courses"], counts["enrolments"]) == (6, 3, 6)


async def test_completion_shows_in_status_course_list_and_both_reports(client: ClientSession) -> None:
    ids = await seeded(client)
    user, course = ids["users"][2], ids["courses"][0]
    long_ago = NOW - 3 * 86400
    await control(client, "POST", "completions", [{"userid": user, "courseid": course}])
    await control(
        client,
        "POST",
        "completions",
        [{"userid": ids["users"][0], "courseid": course, "timecompleted": long_ago}],
    )
    status = await call(client, "core_completion_get_course_completion_status", courseid=course, userid=user)
    assert status["completionstatus"]["completed"] is True
    courses = await call(client, "core_enrol_get_users_courses", userid=user)
    assert {row["id"]: row["completed"] for row in courses} == {course: True, ids["courses"][1]: False}
    everybody = await call(client, "core_reportbuilder_retrieve_report", reportid=4, perpage=100)
    times = {(row["columns"][0], row["columns"][2]): row["columns"][-1] for row in everybody["data"]["rows"]}
    assert times["G002", "30001"] == "Saturday, 21 November 2026, 5:13 AM"
    assert times["G000", "30001"] == "Wednesday, 18 November 2026, 5:13 AM"
    assert times["G001", "30001"] == ""
    recent = await call(client, "core_reportbuilder_retrieve_report", reportid=6, perpage=100)
    assert [row["columns"] for row in recent["data"]["rows"]] == [
        ["G002", "30001", "Yes", "Saturday, 21 November 2026, 5:13 AM"]
    ]


async def test_report_dates_follow_the_readers_zone(client: ClientSession) -> None:
    ids = await seeded(client, learners=1)
    await control(client, "POST", "completions", [{"userid": ids["users"][0], "courseid": ids["courses"][0]}])
    await control(client, "PATCH", "settings", {"timezone": "America/Los_Angeles"})
    report = await call(client, "core_reportbuilder_retrieve_report", reportid=6)
    assert report["data"]["rows"][0]["columns"][-1] == "Friday, 20 November 2026, 9:13 PM"


async def test_criterion_counts_after_cron_only(client: ClientSession) -> None:
    ids = await seeded(client, learners=1)
    pair = {"userid": ids["users"][0], "courseid": ids["courses"][1]}
    await control(client, "POST", "completions", [{**pair, "aggregated": False}])

    async def completed() -> bool:
        answer = await call(client, "core_completion_get_course_completion_status", **pair)
        return bool(answer["completionstatus"]["completed"])

    assert not await completed()
    assert await control(client, "POST", "cron") == {"completed": 1}
    assert await completed()


async def test_people_finish_by_seed_in_opted_in_courses_only(client: ClientSession) -> None:
    ids = await seeded(client, learners=200)
    wish = {"share": 0.5, "seed": 3, "timecompleted": NOW - 60}
    made = await control(client, "POST", "completions/auto", wish)
    rows = made["completions"]
    assert 60 < made["added"] == len(rows) < 140
    assert {row["courseid"] for row in rows} == {ids["courses"][0]}
    assert {row["timecompleted"] for row in rows} == {NOW - 60}
    assert (await control(client, "POST", "completions/auto", wish))["added"] == 0
    others = await control(client, "POST", "completions/auto", {**wish, "share": 1.0})
    assert others["added"] == 200 - made["added"]


async def test_opt_in_and_visibility_are_changed_as_by_an_administrator(client: ClientSession) -> None:
    ids = await seeded(client)
    course = ids["courses"][1]
    await control(client, "PATCH", "courses", {"id": course, "completion_opt_in": True, "visible": 0})
    found = await call(client, "core_course_get_courses_by_field", field="id", value=course)
    assert found["courses"][0]["customfields"][0]["value"] == "Yes"
    assert found["courses"][0]["visible"] == 0


async def test_enrolments_are_told_with_status_dates_and_roles(client: ClientSession) -> None:
    ids = await seeded(client, learners=1)
    wanted = {
        "roleid": 4,
        "userid": ids["users"][0],
        "courseid": ids["courses"][0],
        "timeend": 5,
        "suspend": 1,
    }
    params = {f"enrolments[0][{name}]": value for name, value in wanted.items()}
    assert await call(client, "enrol_manual_enrol_users", **params) is None
    path = f"enrolments?courseid={ids['courses'][0]}&userid={ids['users'][0]}"
    (row,) = await control(client, "GET", path)
    assert (row["status"], row["timestart"], row["timeend"], row["roles"]) == (1, 0, 5, [4, 5])


async def test_calls_are_counted_with_their_entries_and_without_names(client: ClientSession) -> None:
    values = {f"values[{n}]": f"G{n}" for n in range(7)}
    await call(client, "core_user_get_users_by_field", field="idnumber", **values)
    await call(client, "core_user_get_users_by_field", field="nope", **values)
    summary = await control(client, "GET", "calls")
    counter = summary["functions"]["core_user_get_users_by_field"]
    assert (counter["calls"], counter["entries"], counter["failures"]) == (2, 14, 1)
    assert 0 < counter["seconds"] == pytest.approx(summary["busy_seconds"])
    outcomes = [row["outcome"] for row in await control(client, "GET", "calls/log")]
    assert outcomes == ["ok", "codingerror"]
    await control(client, "DELETE", "calls")
    assert (await control(client, "GET", "calls"))["calls"] == 0


async def test_settings_show_no_token_and_refuse_unknown_names(client: ClientSession) -> None:
    shown = await control(client, "PATCH", "settings", {"max_input_vars": 10})
    assert shown["max_input_vars"] == 10
    assert "token" not in shown
    for wrong in ({"colour": "red"}, {"latency": "slow"}, {"max_input_vars": "many"}):
        async with client.patch("/control/settings", json=wrong) as response:
            assert response.status == 400
    assert (await control(client, "GET", "settings"))["latency"] == "none"


async def test_reset_gives_a_fresh_site(client: ClientSession) -> None:
    await seeded(client)
    await control(client, "POST", "faults", {"kind": "bad_gateway"})
    await control(client, "POST", "reset")
    counts = await control(client, "GET", "state")
    assert (counts["users"], counts["courses"], counts["enrolments"]) == (3, 1, 0)
    assert (await call(client, "core_webservice_get_site_info"))["userid"] == 3
    assert (await seeded(client))["users"][0] == 4


async def test_seed_names_the_field_that_is_wrong(client: ClientSession) -> None:
    async with client.post(
        "/control/seed", json={"users": [{"email": "a@example.test", "age": 3}]}
    ) as response:
        assert response.status == 400
        assert "age" in (await response.json())["error"]


async def test_recorded_latency_grows_with_the_entries_and_harms_no_call(client: ClientSession) -> None:
    await seeded(client, learners=50)
    await control(client, "PATCH", "settings", {"latency": "recorded", "latency_scale": 0.1})
    values = {f"values[{n}]": f"G{n:03}" for n in range(50)}
    found = await call(client, "core_user_get_users_by_field", field="idnumber", **values)
    assert len(found) == 50
    assert await call(client, "core_user_get_users_by_field", field="idnumber", **{"values[0]": "no"}) == []
    first, second = [row["seconds"] for row in await control(client, "GET", "calls/log")]
    assert first >= (17 + 50 * 2.4) * 0.1 / 1000
    assert second >= (17 + 2.4) * 0.1 / 1000
    report = await call(client, "core_reportbuilder_retrieve_report", reportid=4, perpage=5)
    assert report["data"]["totalrowcount"] == 100
    multiplexed = "tool_mobile_call_external_functions"
    for requests in ({}, {"requests": "x"}, {"requests[0]": "x"}, {"requests[0][function]": "core_x"}):
        answer = await call(client, multiplexed, **requests)
        assert answer.get("errorcode") == "invalidparameter" or answer["responses"][0]["error"] is True
    several = {
        "requests[0][function]": "core_enrol_get_users_courses",
        "requests[0][arguments]": '{"userid": 4}',
        "requests[1][function]": "core_enrol_get_users_courses",
        "requests[1][arguments]": "no JSON",
    }
    answer = await call(client, multiplexed, **several)
    assert [response["error"] for response in answer["responses"]] == [False, True]
