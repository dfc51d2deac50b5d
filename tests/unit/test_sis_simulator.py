"""The SIS stand-in over real HTTP: tokens, collections, filters, faults, grades; and the client's reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from infra.simulators.sis import Fault, SisPlan, SisState, create_app, seeded
from infra.simulators.sis.filters import FilterError, parse
from producers.sis.client import PullError, read_page
from producers.sis.pull import newest_of

ROOT = "/ims/oneroster/rostering/v1p2"
NOW = datetime(2026, 2, 1, tzinfo=UTC)
Client = TestClient[Any, Any]


@pytest.fixture
def state() -> SisState:
    return seeded(SisPlan(students=30, teachers=3, classes=12))


@pytest.fixture
async def client(state: SisState) -> AsyncIterator[Client]:
    async with TestClient(TestServer(create_app(state))) as running:
        yield running


async def token(client: Client, **form: str) -> tuple[int, dict[str, Any]]:
    given = {"grant_type": "client_credentials", "client_id": "hub", "client_secret": "sis-secret", **form}
    async with client.post("/oauth2/token", data=given) as answer:
        return answer.status, await answer.json()


async def get(client: Client, path: str, **query: str) -> tuple[int, Any, Any]:
    _, issued = await token(client)
    headers = {"Authorization": f"Bearer {issued['access_token']}"}
    async with client.get(path, params=query, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


def test_the_same_plan_gives_the_same_sis() -> None:
    one, other = seeded(SisPlan(seed=3)), seeded(SisPlan(seed=3))
    assert one.people == other.people
    assert one.enrolments == other.enrolments
    assert seeded(SisPlan(seed=4)).people != one.people
    keys = {(each.course, each.term, each.section_id, each.time_of_day) for each in one.headers.values()}
    assert len(keys) == len(one.headers)
    assert {each.status for each in one.enrolments.values()} > {"ENROLLED", "DROPPED", "AUDIT"}


async def test_tokens_are_given_to_who_knows_the_secret(client: Client) -> None:
    assert (await token(client))[0] == 200
    assert (await token(client, client_secret="x")) == (401, {"error": "invalid_client"})
    assert (await token(client, grant_type="password"))[0] == 400
    basic = aiohttp.encode_basic_auth("hub", "sis-secret")
    form = {"grant_type": "client_credentials"}
    async with client.post("/oauth2/token", data=form, headers={"Authorization": basic}) as answer:
        assert answer.status == 200
    async with client.get(f"{ROOT}/users") as answer:
        assert answer.status == 401


async def test_a_collection_is_read_in_pages(client: Client, state: SisState) -> None:
    status, body, headers = await get(client, f"{ROOT}/users", limit="20", offset="0")
    assert (status, len(body["users"]), headers["X-Total-Count"]) == (200, 20, str(len(state.people)))
    assert 'rel="next"' in headers["Link"]
    _, rest, headers = await get(client, f"{ROOT}/users", limit="20", offset="20")
    assert len(rest["users"]) == len(state.people) - 20
    assert "Link" not in headers
    assert (await get(client, f"{ROOT}/cars"))[0] == 404
    assert (await get(client, f"{ROOT}/users", limit="many"))[0] == 400
    assert (await get(client, f"{ROOT}/users", filter="nonsense"))[0] == 400


async def test_both_releases_tell_roles_in_their_own_way(client: Client) -> None:
    _, new, _ = await get(client, f"{ROOT}/users", limit="1")
    _, old, _ = await get(client, "/ims/oneroster/v1p1/users", limit="1")
    assert new["users"][0]["roles"][0]["roleType"] == "primary"
    assert old["users"][0]["role"] == "student"
    assert "roles" not in old["users"][0]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("status='active'", True),
        ("status!='active'", False),
        ("dateLastModified>'2026-01-01'", True),
        ("dateLastModified>'2026-02-01T00:00:00.000Z'", False),
        ("metadata.code='x' AND status='active'", True),
        ("title~'ACC' OR status='gone'", True),
    ],
)
def test_filters(text: str, fits: bool) -> None:
    record = {
        "status": "active",
        "dateLastModified": "2026-01-20T00:00:00.000Z",
        "title": "Accounting",
        "metadata": {"code": "x"},
    }
    assert parse(text)(record) is fits


@pytest.mark.parametrize("text", ["", "status", "status='a' status='b'", "status=active"])
def test_a_filter_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


async def test_faults_strike_as_often_as_told(client: Client, state: SisState) -> None:
    state.faults.add(Fault(kind="rate_limit", path="/users", count=1, after=1, retry_after=3))
    found = [await get(client, f"{ROOT}/users") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 429, 200]
    assert found[1][2]["Retry-After"] == "3"


async def test_grades_are_taken_until_they_are_final(client: Client, state: SisState) -> None:
    headers = {"Authorization": f"Bearer {state.credentials.grades_token}"}
    row = {"enrollment_id": 1, "class_part_id": 1, "numeric_score": 87.456, "letter_grade": "B"}

    async def send(method: str, path: str, body: object) -> tuple[int, Any]:
        async with client.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    status, made = await send("POST", "/grading/grades", row)
    assert (status, made["numeric_score"], made["grade_source"]) == (201, "87.46", "MOODLE_IMPORT")
    assert (await send("POST", "/grading/grades", row))[0] == 409
    status, changed = await send("PUT", "/grading/grades/1", {**row, "numeric_score": 0})
    assert (status, changed["numeric_score"]) == (200, None)
    assert (await send("PUT", "/grading/grades/1", {**row, "numeric_score": 101}))[0] == 422
    assert (await send("PUT", "/grading/grades/9", row))[0] == 404
    assert (await send("POST", "/grading/grades", {**row, "enrollment_id": 10**9}))[0] == 404
    state.grades[1].grade_status = "FINALIZED"
    assert (await send("PUT", "/grading/grades/1", row))[0] == 409
    headers.clear()
    assert (await send("POST", "/grading/grades", row))[0] == 401


@pytest.mark.parametrize(
    ("body", "code", "passes"),
    [
        (b'{"users": [', "not_json", True),
        (b"<html>", "not_json", True),
        (b"[]", "no_collection", False),
        (b'{"orgs": []}', "no_collection", False),
        (b'{"users": {}}', "no_collection", False),
    ],
)
def test_what_is_no_page_is_told_from_what_was_cut_off(body: bytes, code: str, passes: bool) -> None:
    with pytest.raises(PullError) as caught:
        read_page("users", body, None)
    assert (caught.value.code, caught.value.passes) == (code, passes)


def test_one_broken_text_does_not_spoil_the_page() -> None:
    page = read_page("users", b'{"users": [{"sourcedId": "a", "x": "\\ud800"}, {"sourcedId": "b"}]}', "2")
    assert ([record["sourcedId"] for record in page.records], page.total) == (["a", "b"], 2)
    assert read_page("users", b'{"users": []}', "-1").total is None


def test_the_newest_time_is_the_sis_own_and_never_to_come() -> None:
    records: list[object] = [
        {"dateLastModified": "2026-01-05T00:00:00Z"},
        {"dateLastModified": "2099-01-01T00:00:00Z"},
        {"dateLastModified": "soon"},
        {"dateLastModified": 5},
        "no record",
    ]
    assert newest_of(records, None, NOW) == datetime(2026, 1, 5, tzinfo=UTC)
    assert newest_of([], NOW, NOW) == NOW
