import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from connectors.moodle.client import PATH, MoodleClient
from connectors.moodle.faults import FormCut, Refused, UnknownOutcome
from connectors.moodle.form import Params, entries, fitting, flatten, variables
from connectors.moodle.site import missing_functions
from connectors.moodle_sink.settings import FUNCTIONS
from infra.calls import Call, about
from infra.errors import RetryLater, Stop
from infra.http_client import RateLimit, backoff, retry_after, tls_context
from infra.simulators.moodle import Fault, MoodleState, Seed, SeedUser, Settings, seed, serve
from tests.unit.moodle_commands import moodle_settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SITE_INFO = "core_webservice_get_site_info"
BY_FIELD = "core_user_get_users_by_field"
CREATE = "core_user_create_users"


@asynccontextmanager
async def site(*faults: Fault, **changes: Any) -> AsyncIterator[tuple[MoodleClient, MoodleState, list[Call]]]:
    state = MoodleState(Settings(max_input_vars=1000))
    for fault in faults:
        state.faults.add(fault)
    calls: list[Call] = []
    async with (
        serve(state) as url,
        MoodleClient(moodle_settings(url, state, **changes), calls.append) as moodle,
    ):
        yield moodle, state, calls


@asynccontextmanager
async def server(handler: Handler, **changes: Any) -> AsyncIterator[MoodleClient]:
    app = web.Application()
    app.router.add_post(PATH, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with MoodleClient(moodle_settings(url, MoodleState(), **changes)) as moodle:
            yield moodle
    finally:
        await runner.cleanup()


def user(number: int) -> dict[str, str]:
    return {
        "auth": "oauth2",
        "username": f"user{number}@example.test",
        "firstname": "First",
        "lastname": "Last",
        "email": f"user{number}@example.test",
    }


def accounts(state: MoodleState) -> int:
    return sum(row.username.startswith("user") for row in state.users)


async def test_a_call_gives_the_decoded_answer_and_a_note_for_the_log() -> None:
    async with site() as (moodle, _, calls):
        rows = await moodle.call(CREATE, {"users": [user(1), user(2)]})
    assert [row["username"] for row in rows] == ["user1@example.test", "user2@example.test"]
    [call] = calls
    assert (call.function, call.entries, call.code) == (CREATE, 2, "ok")
    assert call.sent > 0
    assert call.received > 0


async def test_the_token_goes_first_in_the_body_and_the_format_last() -> None:
    seen: list[tuple[str, list[tuple[str, str]]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.query_string + str(request.headers), parse_qsl(await request.text())))
        return web.json_response(None)

    async with server(handler) as moodle:
        assert await moodle.call("f", {"a": [{"b": 1, "c": "x&y=ü"}]}) is None
        token = moodle.settings.token.get_secret_value()
    [(outside, form)] = seen
    assert form == [
        ("wstoken", token),
        ("wsfunction", "f"),
        ("a[0][b]", "1"),
        ("a[0][c]", "x&y=ü"),
        ("moodlewsrestformat", "json"),
    ]
    assert token not in outside


def test_settings_do_not_show_the_token() -> None:
    settings = moodle_settings("http://localhost", MoodleState(Settings(token="hidden-token")))
    assert "hidden-token" not in repr(settings)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("too_many_requests", count=1, retry_after=0),
        Fault("maintenance_cli", count=2),
        Fault("maintenance_ui", count=2),
        Fault("upgrade_running", count=1),
        Fault("database_down", count=3),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_write_is_repeated_where_nothing_was_done(fault: Fault) -> None:
    async with site(fault) as (moodle, state, _):
        assert len(await moodle.call(CREATE, {"users": [user(1)]})) == 1
        assert accounts(state) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("server_error", count=1),
        Fault("server_error", count=1, status=504),
        Fault("bad_gateway", count=1),
        Fault("connection_reset", count=1),
        Fault("reset_after_commit", count=1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_a_read_is_repeated_but_a_write_of_unknown_outcome_is_not(fault: Fault) -> None:
    async with site(fault) as (moodle, _, calls):
        assert (await moodle.call(SITE_INFO, {}))["username"] == "hubsvc"
        assert len(calls) == 2
    async with site(fault.__class__(fault.kind, count=1, status=fault.status)) as (moodle, _, calls):
        with pytest.raises(UnknownOutcome):
            await moodle.call(CREATE, {"users": [user(1)]})
        assert len(calls) == 1


async def test_a_write_that_times_out_is_of_unknown_outcome() -> None:
    fault = Fault("timeout_after_commit", count=1)
    async with site(fault, timeout=0.2) as (moodle, state, calls):
        with pytest.raises(UnknownOutcome, match="timeout"):
            await moodle.call(CREATE, {"users": [user(1)]})
        assert accounts(state) == 1
        assert [call.code for call in calls] == ["timeout"]


async def test_nobody_listening_is_told_as_retry_after_the_quick_repeats() -> None:
    async with serve(MoodleState()) as url:
        pass
    calls: list[Call] = []
    settings = moodle_settings(url, MoodleState(), max_retries=2)
    async with MoodleClient(settings, calls.append) as moodle:
        with pytest.raises(RetryLater) as caught:
            await moodle.call(CREATE, {"users": [user(1)]})
    assert not isinstance(caught.value, UnknownOutcome)
    assert [(call.code, call.http_status, call.attempt) for call in calls] == [
        ("no_connection", None, 1),
        ("no_connection", None, 2),
        ("no_connection", None, 3),
    ]


async def test_the_note_of_a_call_tells_its_way_and_what_it_was_about_but_no_content() -> None:
    async with site(Fault("maintenance_cli", count=1)) as (moodle, _, calls):
        with about(["user|t|P1"]):
            await moodle.call(CREATE, {"users": [user(1)]})
    first, second = calls
    assert (first.code, first.http_status, first.attempt) == ("http_503", 503, 1)
    assert (second.code, second.http_status, second.attempt) == ("ok", 200, 2)
    assert (second.function, second.entries, second.references) == (CREATE, 1, ("user|t|P1",))
    assert second.sent > 100
    assert second.received > 0
    assert user(1)["username"] not in repr(calls)


async def test_a_retry_after_longer_than_the_longest_pause_is_left_to_the_caller() -> None:
    async with site(Fault("too_many_requests", retry_after=60)) as (moodle, _, calls):
        with pytest.raises(RetryLater) as caught:
            await moodle.call(SITE_INFO, {})
    assert caught.value.retry_after == 60
    assert len(calls) == 1


@pytest.mark.parametrize(
    "kind", ["token_revoked", "token_expired", "access_denied", "user_suspended", "web_services_off"]
)
async def test_wrong_credentials_stop_at_once(kind: str) -> None:
    async with site(Fault(kind)) as (moodle, _, calls):
        with pytest.raises(Stop):
            await moodle.call(SITE_INFO, {})
    assert len(calls) == 1


async def test_a_redirect_is_not_followed() -> None:
    async def handler(_: web.Request) -> web.Response:
        raise web.HTTPFound("/login/index.php")

    async with server(handler) as moodle:
        with pytest.raises(Stop, match="http_302"):
            await moodle.call(SITE_INFO, {})


async def test_a_function_that_the_service_lacks_stops() -> None:
    async with site() as (moodle, _, _):
        with pytest.raises(Stop, match="missing_function"):
            await moodle.call("no_such_function", {})
        with pytest.raises(Stop, match="accessexception"):
            await moodle.multiplex([("core_user_view_user_profile", {})])


async def test_a_refusal_tells_function_and_code() -> None:
    async with site() as (moodle, state, calls):
        with pytest.raises(Refused) as caught:
            await moodle.call(CREATE, {"users": [user(1), user(1)]})
        assert (caught.value.function, caught.value.code) == (CREATE, "invalidparameter")
        assert accounts(state) == 0
    assert len(calls) == 1


async def test_a_cut_form_is_noticed_though_moodle_answers_as_if_all_were_well() -> None:
    async with site(max_input_vars=5000) as (moodle, state, _):
        ids = seed(state, Seed(users=[SeedUser(f"u{n}@example.test") for n in range(300)]))["users"]
        enrolments = [{"roleid": 5, "userid": number, "courseid": 1, "suspend": 0} for number in ids]
        with pytest.raises(FormCut):
            await moodle.call("enrol_manual_enrol_users", {"enrolments": enrolments})
        assert moodle.max_input_vars < 1203


async def test_multiplexed_calls_go_on_behind_a_refused_one() -> None:
    async with site() as (moodle, state, calls):
        [known] = seed(state, Seed(users=[SeedUser("a@example.test", idnumber="A")]))["users"]
        found, refused, none = await moodle.multiplex(
            [
                (BY_FIELD, {"field": "idnumber", "values": ["A"]}),
                (BY_FIELD, {"field": "lastname", "values": ["A"]}),
                (BY_FIELD, {"field": "idnumber", "values": ["B"]}),
            ]
        )
    assert not isinstance(found, Refused)
    assert [row["id"] for row in found] == [known]
    assert isinstance(refused, Refused)
    assert refused.code == "codingerror"
    assert none == []
    assert len(calls) == 2


async def test_more_multiplexed_calls_than_fit_into_a_form_take_several_requests() -> None:
    async with site(max_input_vars=23) as (moodle, _, calls):
        answers = await moodle.multiplex([(BY_FIELD, {"field": "idnumber", "values": ["A"]})] * 25)
    assert answers == [[]] * 25
    assert [call.entries for call in calls] == [10, 10, 5]


async def test_no_more_calls_run_at_once_than_allowed() -> None:
    running = most = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait() if running < 3 else gate.set()
        running -= 1
        return web.json_response(None)

    gate = asyncio.Event()
    async with server(handler, parallel=3) as moodle:
        await asyncio.gather(*(moodle.call("f", {}) for _ in range(9)))
    assert most == 3


async def test_the_rate_limit_holds_calls_back() -> None:
    async with site(rate_limit=2) as (moodle, state, calls):
        await moodle.call(SITE_INFO, {})
        await moodle.call(SITE_INFO, {})
        third = asyncio.create_task(moodle.call(SITE_INFO, {}))
        async with MoodleClient(moodle_settings(state.settings.url, state)) as unlimited:
            for _ in range(20):
                await unlimited.call(SITE_INFO, {})
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert len(calls) == 2
        assert state.calls.counters[SITE_INFO].calls == 22


async def test_functions_that_the_service_does_not_allow_are_named() -> None:
    async with site() as (moodle, _, _):
        assert await missing_functions(moodle, FUNCTIONS) == []
        assert await missing_functions(moodle, [SITE_INFO, "core_x", "core_y"]) == ["core_x", "core_y"]


def test_a_rate_limit_gives_places_in_the_minute() -> None:
    limit = RateLimit(2)
    assert [limit.reserve(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.0, 0.0, 58.0, 58.0]
    assert limit.reserve(200.0) == 0.0
    assert [RateLimit(0).reserve(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 21 Nov 2026 08:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2026, 11, 21, 8, 0, tzinfo=UTC)) == seconds


def test_backoff_is_exponential_with_full_jitter() -> None:
    def highest(_: float, bound: float) -> float:
        return bound

    assert [backoff(n, 1.0, 30.0, highest) for n in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff(5000, 1.0, 30.0, lambda lowest, _: lowest) == 0.0


def test_tls_is_verified_from_the_configured_version_on() -> None:
    context = tls_context("1.3")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.raises(ValueError, match=r"1\.2"):
        tls_context("1.0")


def test_parameters_are_flattened_in_their_order() -> None:
    params: Params = {"users": [{"id": 4, "suspended": True}, {"id": 5}], "options": {"ids": [7]}}
    assert flatten(params) == [
        ("users[0][id]", "4"),
        ("users[0][suspended]", "1"),
        ("users[1][id]", "5"),
        ("options[ids][0]", "7"),
    ]
    assert entries(params) == 2
    assert variables(params) == 4


@pytest.mark.parametrize(
    ("number", "size", "limit", "most", "lengths"),
    [
        (1000, 6, 1000, 500, [166] * 6 + [4]),
        (1000, 6, 5000, 500, [500, 500]),
        (499, 10, 5000, 500, [499]),
        (500, 10, 5000, 500, [499, 1]),
        (3, 100, 50, 500, [1, 1, 1]),
        (0, 6, 1000, 500, []),
    ],
)
def test_entries_are_split_by_the_variables_that_the_site_takes(
    number: int, size: int, limit: int, most: int, lengths: list[int]
) -> None:
    parts = fitting(range(number), most, limit, lambda _: size)
    assert [len(part) for part in parts] == lengths
    assert [item for part in parts for item in part] == list(range(number))
