"""The ELM stand-in over HTTP: queries, paging, completions, control."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from infra.simulators.elm import ElmServer, ElmState, Journal, Settings, serve
from infra.simulators.seed import SeedPlan, records

TOKEN = "right"
PLAN = SeedPlan(seed=5, records=300, courses=10, duplicates=0)
COMPLETION = {
    "COURSE_COMPLETE_DATE": "2023-05-02",
    "COURSE_STATE": "Complete",
    "ENROLMENT_ID": 700001,
    "USER_STATE": "Active",
    "USER_EFFECTIVE_DATE": "2017-02-14",
    "COURSE_IDENTIFIER": 32090,
    "COURSE_SHORTNAME": "ITEM-2162-1",
    "EMAIL": "zoe.o'mallorn@example.test",
    "GUID": "A1B2",
    "FIRST_NAME": "Zoë",
    "LAST_NAME": "O'Mallorn",
}


@pytest.fixture
async def server() -> AsyncIterator[ElmServer]:
    async with serve(ElmState(TOKEN, seed=records(PLAN))) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"x-cdata-authtoken": TOKEN}) as session:
        yield session


async def _get(client: aiohttp.ClientSession, url: str, **query: str) -> tuple[int, Any]:
    params = {f"${name}": value for name, value in query.items()}
    async with client.get(url, params=params) as response:
        return response.status, await response.json()


async def _value(client: aiohttp.ClientSession, url: str, **query: str) -> list[dict[str, Any]]:
    status, body = await _get(client, url, **query)
    assert status == 200
    assert list(body) == ["value"]
    return list(body["value"])


async def _all(client: aiohttp.ClientSession, server: ElmServer, **query: str) -> list[dict[str, Any]]:
    return await _value(client, server.feed_url, **query)


async def test_gives_the_whole_feed_as_it_was_seeded(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    assert await _all(client, server) == list(records(PLAN))


async def test_query_of_release_1_5(server: ElmServer, client: aiohttp.ClientSession) -> None:
    found = await _all(
        client,
        server,
        orderby="ENROLMENT_ID asc,COURSE_STATE asc",
        filter="record_enrol_id gt 280 and USER_STATE eq 'ACTIVE'",
    )
    assert sorted(int(record["record_enrol_id"]) for record in found) == list(range(281, 301))
    enrolments = [int(record.get("ENROLMENT_ID", 0)) for record in found]
    assert enrolments == sorted(enrolments)


async def test_query_of_release_1_4_on_the_raw_wire(server: ElmServer, client: aiohttp.ClientSession) -> None:
    server.state.configure(feed="1.4")
    middle = list(records(PLAN))[150]["date_created"]
    naive = middle[:19].replace("T", "%20")
    url = (
        f"{server.feed_url}?%24orderby=COURSE_STATE_DATE,date_created%20asc"
        f"&%24filter=date_created%20gt%20%27{naive}%27"
    )
    async with client.get(URL(url, encoded=True)) as response:
        found = (await response.json())["value"]
    assert 148 <= len(found) <= 150
    assert all("record_enrol_id" not in record for record in found)
    assert [r["COURSE_STATE_DATE"] for r in found] == sorted(r["COURSE_STATE_DATE"] for r in found)


async def test_empty_result_is_an_empty_array(server: ElmServer, client: aiohttp.ClientSession) -> None:
    assert await _all(client, server, filter="GUID eq 'nobody'") == []


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("path", ["feed_url", "completion_url"])
async def test_wrong_token_is_401(server: ElmServer, token: str | None, path: str) -> None:
    headers = {} if token is None else {"x-cdata-authtoken": token}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(getattr(server, path)) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "401"


async def test_completions_may_have_a_token_of_their_own(client: aiohttp.ClientSession) -> None:
    async with serve(ElmState("other", completion_token=TOKEN)) as server:
        assert (await _get(client, server.completion_url))[0] == 200
        assert (await _get(client, server.feed_url))[0] == 401


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"filter": "NOBODY eq 1"}, "NOBODY"),
        ({"filter": "GUID eq 'a"}, "character"),
        ({"orderby": "GUID sideways"}, "sideways"),
        ({"top": "-1"}, "$top"),
        ({"skip": "x"}, "$skip"),
        ({"select": "GUID"}, "$select"),
    ],
)
async def test_bad_query_is_400_with_the_reason(
    server: ElmServer, client: aiohttp.ClientSession, query: dict[str, str], words: str
) -> None:
    status, body = await _get(client, server.feed_url, **query)
    assert status == 400
    assert body["error"]["code"] == "400"
    assert words in body["error"]["message"]


async def test_page_cap_cuts_silently(server: ElmServer, client: aiohttp.ClientSession) -> None:
    server.state.configure(page_cap=70)
    assert len(await _all(client, server)) == 70
    assert len(await _all(client, server, top="200")) == 70
    assert len(await _all(client, server, top="20")) == 20
    assert len(await _all(client, server, skip="280")) == 20


async def test_next_link_leads_through_the_whole(server: ElmServer, client: aiohttp.ClientSession) -> None:
    server.state.configure(page_cap=70, next_link=True)
    status, body = await _get(
        client, server.feed_url, filter="record_enrol_id gt 10", orderby="record_enrol_id"
    )
    seen, pages = list(body["value"]), 1
    while "@odata.nextLink" in body:
        async with client.get(body["@odata.nextLink"]) as response:
            body = await response.json()
        seen += body["value"]
        pages += 1
    assert [int(record["record_enrol_id"]) for record in seen] == list(range(11, 301))
    assert (status, pages) == (200, 5)


async def test_next_link_stops_at_top_and_at_the_end(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    server.state.configure(page_cap=100, next_link=True)
    for query, links in (({"top": "100"}, False), ({"top": "101"}, True), ({"skip": "200"}, False)):
        _, body = await _get(client, server.feed_url, **query)
        assert ("@odata.nextLink" in body) is links


async def test_completion_is_stored_and_read_back(server: ElmServer, client: aiohttp.ClientSession) -> None:
    full = COMPLETION | {"OPRID": "OP1", "ACTIVITY_ID": 9, "PERSON_ID": 5, "COURSE_LONG_NAME": "Écrire"}
    async with client.post(server.completion_url, json=full) as response:
        assert response.status == 201
        assert await response.json() == full
    query = "GUID eq 'A1B2' and COURSE_IDENTIFIER eq 32090"
    assert await _value(client, server.completion_url, filter=query) == [full]
    assert (
        await _value(client, server.completion_url, filter="GUID eq 'A1B2' and COURSE_IDENTIFIER eq 1") == []
    )
    assert await _value(client, server.completion_url, filter="EMAIL eq 'zoe.o''mallorn@example.test'") == [
        full
    ]
    assert server.state.completed() == [full]


async def test_double_delivery_shows(server: ElmServer, client: aiohttp.ClientSession) -> None:
    for _ in range(2):
        async with client.post(server.completion_url, json=COMPLETION) as response:
            assert response.status == 201
    assert len(server.state.completed()) == 2


@pytest.mark.parametrize("field", list(COMPLETION))
async def test_missing_field_is_named(server: ElmServer, client: aiohttp.ClientSession, field: str) -> None:
    body = {name: value for name, value in COMPLETION.items() if name != field}
    await _refused(server, client, body, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("COURSE_COMPLETE_DATE", "02.05.2023"),
        ("COURSE_COMPLETE_DATE", "2023-02-30"),
        ("COURSE_COMPLETE_DATE", 20230502),
        ("COURSE_STATE", "Enrol"),
        ("ENROLMENT_ID", "700001"),
        ("ENROLMENT_ID", True),
        ("COURSE_IDENTIFIER", None),
        ("GUID", " "),
        ("PERSON_ID", "5"),
        ("SURPRISE", 1),
    ],
)
async def test_wrong_field_is_named(
    server: ElmServer, client: aiohttp.ClientSession, field: str, value: object
) -> None:
    await _refused(server, client, COMPLETION | {field: value}, field)


async def _refused(
    server: ElmServer, client: aiohttp.ClientSession, body: dict[str, Any], field: str
) -> None:
    async with client.post(server.completion_url, json=body) as response:
        assert response.status == 400
        assert field in (await response.json())["error"]["message"]
    assert server.state.completed() == []


async def test_only_json_objects_are_taken(server: ElmServer, client: aiohttp.ClientSession) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
    ):
        headers = {"Content-Type": kind}
        async with client.post(server.completion_url, data=content, headers=headers) as response:
            assert response.status == status


async def test_control_appends_records_with_the_next_positions(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    added = [{"GUID": "new"}, {"GUID": "new", "record_enrol_id": "400"}, {"GUID": "new"}]
    async with client.post(f"{server.control_url}/records", json={"records": added}) as response:
        assert response.status == 201
        assert (await response.json())["record_enrol_ids"] == [301, "400", 401]
    assert [r["record_enrol_id"] for r in await _all(client, server, filter="GUID eq 'new'")] == [
        301,
        "400",
        401,
    ]


@pytest.mark.parametrize(
    "body", [b"{", b'{"records": [1]}', b'{"records": [{"record_enrol_id": "x"}]}', b"{}"]
)
async def test_control_refuses_what_are_no_records(
    server: ElmServer, client: aiohttp.ClientSession, body: bytes
) -> None:
    async with client.post(f"{server.control_url}/records", data=body) as response:
        assert response.status == 400
    assert len(server.state.feed) == 300


async def test_control_changes_settings_and_refuses_wrong_ones(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    url = f"{server.control_url}/settings"
    async with client.patch(url, json={"page_cap": 5, "feed": "1.4", "zone": "Asia/Tokyo"}) as response:
        assert response.status == 200
    wanted = Settings(feed="1.4", zone="Asia/Tokyo", page_cap=5)
    assert server.state.settings == wanted
    for wrong in ({"feed": "1.6"}, {"page_cap": 0}, {"zone": "Mars/Base"}, {"colour": "red"}):
        async with client.patch(url, json=wrong) as response:
            assert response.status == 400
            assert next(iter(wrong)) in await response.text()
    assert server.state.settings == wanted


async def test_control_reset_goes_back_to_the_seed(server: ElmServer, client: aiohttp.ClientSession) -> None:
    server.state.append([{"GUID": "new"}])
    server.state.complete(COMPLETION)
    await _get(client, server.feed_url)
    async with client.post(f"{server.control_url}/reset") as response:
        assert (await response.json())["records"] == 300
    assert server.state.completed() == []
    assert not server.state.calls
    assert server.state.append([{"GUID": "new"}])[0]["record_enrol_id"] == 301


async def test_control_tells_completions_calls_and_status(
    server: ElmServer, client: aiohttp.ClientSession
) -> None:
    server.state.complete(COMPLETION)
    await _get(client, server.feed_url)
    await _get(client, server.feed_url, top="x")
    assert (await _get(client, f"{server.control_url}/calls"))[1] == {"feed GET 200": 1, "feed GET 400": 1}
    assert (await _get(client, f"{server.control_url}/completions"))[1] == {"count": 1, "value": [COMPLETION]}
    assert (await _get(client, f"{server.control_url}/completions?count_only=1"))[1] == {"count": 1}
    status = (await _get(client, f"{server.control_url}/status"))[1]
    assert (status["records"], status["completions"], status["settings"]["feed"]) == (300, 1, "1.5")
    async with client.delete(f"{server.control_url}/calls") as response:
        assert response.status == 204
    assert not server.state.calls


def test_journal_brings_back_what_was_added(tmp_path: Path) -> None:
    def started() -> ElmState:
        return ElmState(TOKEN, seed=records(PLAN), journal=Journal(tmp_path / "sub" / "elm.jsonl"))

    first = started()
    first.append([{"GUID": "one"}, {"GUID": "two"}])
    first.complete(COMPLETION)
    with (tmp_path / "sub" / "elm.jsonl").open("ab") as file:
        file.write(b'{"kind":"record","da')  # killed while writing
    second = started()
    assert (len(second.feed), second.completed()) == (302, [COMPLETION])
    second.append([{"GUID": "three"}])
    third = started()
    assert third.append([{"GUID": "four"}])[0]["record_enrol_id"] == 304
    third.reset()
    assert (len(started().feed), started().completed()) == (300, [])
