"""The ELM sink over real HTTP against the ELM stand-in, with its faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import date
from typing import Any, Literal

import msgspec
import pytest
from aiohttp import web

from connectors.elm_sink.body import Delivery
from connectors.elm_sink.faults import answer
from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.sink import ElmSink
from connectors.elm_sink.suspects import Suspects
from infra.errors import RetryLater, Stop
from infra.simulators.elm.app import ElmServer, serve
from infra.simulators.elm.faults import Fault
from infra.simulators.elm.state import ElmState
from schemas.elm import CallbackOutcome, CallbackResult, CompletionCallback
from schemas.ids import CallbackId, CourseId, EnrolmentId, PersonId
from schemas.reasons import Reason
from tests.unit.test_elm_sink_parts import CALLBACK

DELIVERED, THERE, REJECTED = (
    CallbackOutcome.DELIVERED,
    CallbackOutcome.ALREADY_THERE,
    CallbackOutcome.REJECTED,
)


def callbacks(count: int) -> list[CompletionCallback]:
    """Completions of different people over three courses."""
    return [
        replace(
            CALLBACK,
            callback_id=CallbackId(f"c-{n}"),
            enrolment_id=EnrolmentId(str(880_000 + n)),
            person_id=PersonId(f"AB{n:04X}"),
            course_id=CourseId(str(32_090 + n % 3)),
        )
        for n in range(count)
    ]


def settings(url: str, **changes: object) -> ElmSinkSettings:
    base = ElmSinkSettings(
        url=url, token="secret-token", timeout=5, base_delay=0.01, max_delay=0.05, settle=0.02
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the fields differ in type


@asynccontextmanager
async def opened(server: ElmServer, **changes: object) -> AsyncIterator[ElmSink]:
    sink = ElmSink(settings(server.completion_url, **changes))
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def written(sink: ElmSink, batch: Sequence[CompletionCallback]) -> list[CallbackResult]:
    outputs, refused, causes = await sink.write(batch)
    results = [output.record for output in outputs if isinstance(output.record, CallbackResult)]
    assert len(results) == len(outputs)
    rejected = {n: one.reason for n, one in enumerate(results) if one.outcome is REJECTED}
    assert {n: error.reason for n, error in refused.items()} == rejected
    assert [batch[cause].callback_id for cause in causes] == [one.callback_id for one in results]
    return results


def outcomes(results: Sequence[CallbackResult]) -> Counter[CallbackOutcome]:
    return Counter(result.outcome for result in results)


@pytest.fixture
async def elm() -> AsyncIterator[ElmServer]:
    async with serve(ElmState("secret-token")) as server:
        yield server


def stored(elm: ElmServer) -> Counter[int]:
    return Counter(record["ENROLMENT_ID"] for record in elm.state.completed())


async def test_every_completion_is_delivered_and_has_its_result_in_order(elm: ElmServer) -> None:
    batch = callbacks(60)
    async with opened(elm) as sink:
        results = await written(sink, batch)
    assert [result.callback_id for result in results] == [callback.callback_id for callback in batch]
    assert outcomes(results) == {DELIVERED: 60}
    assert {result.http_status for result in results} == {201}
    assert stored(elm) == {880_000 + n: 1 for n in range(60)}
    assert elm.state.calls["completion GET 200"] == 3, "60 people are read back 25 at a time"


async def test_a_repeated_batch_posts_nothing(elm: ElmServer) -> None:
    async with opened(elm) as sink:
        await written(sink, callbacks(10))
    async with opened(elm) as restarted:
        assert outcomes(await written(restarted, callbacks(12))) == {THERE: 10, DELIVERED: 2}
    assert set(stored(elm).values()) == {1}


async def test_another_enrolment_of_the_same_person_and_course_is_another_completion(elm: ElmServer) -> None:
    first = callbacks(1)[0]
    again = replace(first, callback_id=CallbackId("again"), enrolment_id=EnrolmentId("990000"))
    async with opened(elm) as sink:
        await written(sink, [first])
        assert outcomes(await written(sink, [again])) == {DELIVERED: 1}


async def test_two_callbacks_of_one_completion_in_a_batch_post_once(elm: ElmServer) -> None:
    first = callbacks(1)[0]
    twin = replace(first, callback_id=CallbackId("twin"), completed_on=date(2026, 11, 19))
    async with opened(elm) as sink:
        results = await written(sink, [first, twin])
    assert [result.outcome for result in results] == [DELIVERED, THERE]
    assert sum(stored(elm).values()) == 1


@pytest.mark.parametrize("kind", ["timeout_after_commit", "reset_after_commit"])
async def test_a_lost_answer_is_looked_up_before_posting_again(elm: ElmServer, kind: str) -> None:
    elm.state.faults.add(Fault(kind=kind, endpoint="completion", method="POST", count=1))  # type: ignore[arg-type]  # parametrised
    async with opened(elm, timeout=0.3) as sink:
        results = await written(sink, callbacks(8))
    assert outcomes(results) == {DELIVERED: 7, THERE: 1}
    assert stored(elm) == {880_000 + n: 1 for n in range(8)}


async def test_a_lost_answer_is_given_time_before_the_look_up(elm: ElmServer) -> None:
    elm.state.faults.add(Fault(kind="reset_after_commit", endpoint="completion", method="POST", count=1))
    async with opened(elm, settle=45.0) as sink:
        with pytest.raises(RetryLater) as caught:
            await sink.write(callbacks(1))
        assert caught.value.retry_after == 45.0
        assert outcomes(await written(sink, callbacks(1))) == {THERE: 1}
    assert elm.state.calls["completion POST 201"] == 0
    assert sum(stored(elm).values()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", endpoint="completion", status=503, count=2),
        Fault(kind="status", endpoint="completion", method="POST", status=500, count=2),
        Fault(kind="rate_limit", endpoint="completion", count=1),
        Fault(kind="html", endpoint="completion", status=502, count=1),
        Fault(kind="reset", endpoint="completion", method="POST", count=1),
        Fault(kind="no_value", endpoint="completion", method="GET", count=1),
        Fault(kind="truncated", endpoint="completion", method="GET", count=1),
        Fault(kind="html", endpoint="completion", method="GET", status=200, count=1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}-{fault.status}",
)
async def test_short_trouble_is_overcome_within_the_batch(elm: ElmServer, fault: Fault) -> None:
    elm.state.faults.add(fault)
    async with opened(elm) as sink:
        results = await written(sink, callbacks(8))
    assert outcomes(results) == {DELIVERED: 8}
    assert stored(elm) == {880_000 + n: 1 for n in range(8)}


@pytest.mark.parametrize("kind", ["no_value", "truncated"])
async def test_success_of_a_post_is_its_status_alone(elm: ElmServer, kind: str) -> None:
    elm.state.faults.add(Fault(kind=kind, endpoint="completion", method="POST", count=1))  # type: ignore[arg-type]  # parametrised
    async with opened(elm) as sink:
        assert outcomes(await written(sink, callbacks(3))) == {DELIVERED: 3}
    assert set(stored(elm).values()) == {1}


async def test_long_trouble_is_left_to_the_runtime_and_nothing_is_posted_twice(elm: ElmServer) -> None:
    batch = callbacks(20)
    async with opened(elm, parallel=1) as sink:
        for _ in range(5):
            elm.state.faults.add(
                Fault(kind="latency", endpoint="completion", method="POST", count=1, seconds=0)
            )
        elm.state.faults.add(Fault(kind="status", endpoint="completion", method="POST", status=503))
        with pytest.raises(RetryLater):
            await sink.write(batch)
        assert sum(stored(elm).values()) == 5
        elm.state.faults.clear()
        results = await written(sink, batch)
    assert outcomes(results) == {DELIVERED: 20}, "what was delivered before is told as delivered"
    assert stored(elm) == {880_000 + n: 1 for n in range(20)}


async def test_the_wait_that_elm_asks_for_is_handed_on(elm: ElmServer) -> None:
    elm.state.faults.add(Fault(kind="rate_limit", endpoint="completion", method="POST", retry_after=90))
    async with opened(elm, parallel=1) as sink:
        with pytest.raises(RetryLater) as caught:
            await sink.write(callbacks(5))
    assert caught.value.retry_after == 90
    assert elm.state.calls["completion POST 429"] == 1, "after the refusal nothing more is sent"


async def test_elm_away_is_transient() -> None:
    async with serve(ElmState("secret-token")) as gone:
        pass
    async with opened(gone) as sink:
        with pytest.raises(RetryLater, match="ClientConnectorError"):
            await sink.write(callbacks(1))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="unauthorized", endpoint="completion"),
        Fault(kind="unauthorized", endpoint="completion", method="POST"),
        Fault(kind="status", endpoint="completion", status=403),
        Fault(kind="redirect", endpoint="completion"),
        Fault(kind="redirect", endpoint="completion", method="POST"),
        Fault(kind="status", endpoint="completion", method="POST", status=404),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.method}-{fault.status}",
)
async def test_wrong_credentials_or_address_stop_and_reject_nothing(elm: ElmServer, fault: Fault) -> None:
    elm.state.faults.add(fault)
    async with opened(elm) as sink:
        with pytest.raises(Stop) as caught:
            await sink.write(callbacks(3))
        assert "secret" not in str(caught.value)
        elm.state.faults.clear()
        assert outcomes(await written(sink, callbacks(3))) == {DELIVERED: 3}
    assert set(stored(elm).values()) == {1}


@pytest.mark.parametrize(("status", "reason"), [(400, Reason.INVALID_FIELD), (409, Reason.REFUSED)])
async def test_a_refused_record_ends_alone(elm: ElmServer, status: int, reason: Reason) -> None:
    elm.state.faults.add(Fault(kind="status", endpoint="completion", method="POST", status=status, count=1))
    async with opened(elm, parallel=1) as sink:
        results = await written(sink, callbacks(4))
    assert [result.outcome for result in results] == [REJECTED, DELIVERED, DELIVERED, DELIVERED]
    assert (results[0].reason, results[0].http_status) == (reason, status)


# A record at which ELM fails again and again


def poison(*numbers: int, **fault: Any) -> list[Fault]:
    """Faults that befall the deliveries of these callbacks only, for good."""
    base = Fault(kind="status", endpoint="completion", method="POST", status=500)
    return [msgspec.structs.replace(base, guid=f"AB{n:04X}", **fault) for n in numbers]


async def until_written(
    sink: ElmSink, batch: Sequence[CompletionCallback], tries: int = 10
) -> tuple[int, list[CallbackResult]]:
    """Write as the runtime does, again and again; give the number of tries and the results, if any."""
    for number in range(1, tries + 1):
        with suppress(RetryLater):
            return number, await written(sink, batch)
    return tries, []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_record_at_which_elm_always_fails_ends_alone(elm: ElmServer, status: int) -> None:
    batch = callbacks(20)
    elm.state.faults.add(*poison(3, status=status))
    async with opened(elm) as sink:
        with pytest.raises(RetryLater):
            await sink.write(batch)
        assert sum(stored(elm).values()) == 19, "nobody waits for it"
        tries, results = await until_written(sink, batch)
    assert tries == 4, "with the first the fifth"
    assert outcomes(results) == {DELIVERED: 19, REJECTED: 1}
    assert (results[3].reason, results[3].http_status) == (Reason.REFUSED, status)
    assert set(stored(elm).values()) == {1}


async def test_a_record_that_elm_never_answers_is_looked_up_before_it_is_given_up(elm: ElmServer) -> None:
    batch = callbacks(12)
    for fault in poison(0, kind="latency") + poison(1, kind="timeout_after_commit"):
        elm.state.faults.add(fault)
    async with opened(elm, timeout=0.2, retries=0) as sink:
        _, results = await until_written(sink, batch)
    assert [result.outcome for result in results[:2]] == [REJECTED, THERE]
    assert (results[0].reason, results[0].http_status) == (Reason.REFUSED, None)
    assert stored(elm) == {880_000 + n: 1 for n in range(1, 12)}


async def test_many_such_records_one_behind_the_other_end_and_the_others_go_on(elm: ElmServer) -> None:
    batch = callbacks(40)
    for fault in poison(*range(15)):
        elm.state.faults.add(fault)
    async with opened(elm) as sink:
        _, results = await until_written(sink, batch)
    assert [result.outcome for result in results] == [REJECTED] * 15 + [DELIVERED] * 25
    assert stored(elm) == {880_000 + n: 1 for n in range(15, 40)}


async def test_such_records_among_others_keep_nobody_waiting_for_a_second_try(elm: ElmServer) -> None:
    bad = range(0, 30, 3)
    for fault in poison(*bad):
        elm.state.faults.add(fault)
    async with opened(elm, retries=0) as sink:
        with pytest.raises(RetryLater):
            await sink.write(callbacks(30))
    assert stored(elm) == {880_000 + n: 1 for n in range(30) if n not in bad}


@pytest.mark.parametrize("kind", ["status", "reset"])
async def test_nothing_is_given_up_while_elm_takes_nothing(elm: ElmServer, kind: str) -> None:
    elm.state.faults.add(Fault(kind=kind, endpoint="completion", method="POST", status=500))  # type: ignore[arg-type]  # parametrised
    async with opened(elm) as sink:
        assert await until_written(sink, callbacks(9), tries=12) == (12, [])
        elm.state.faults.clear()
        assert outcomes(await written(sink, callbacks(9))) == {DELIVERED: 9}
    assert set(stored(elm).values()) == {1}


async def test_what_was_taken_before_elm_fell_ill_says_nothing(elm: ElmServer) -> None:
    batch = callbacks(9)
    elm.state.faults.add(Fault(kind="latency", endpoint="completion", method="POST", count=3, seconds=0))
    elm.state.faults.add(Fault(kind="status", endpoint="completion", method="POST", status=500))
    async with opened(elm, parallel=1) as sink:
        assert await until_written(sink, batch, tries=12) == (12, [])
        assert sum(stored(elm).values()) == 3
        elm.state.faults.clear()
        assert outcomes(await written(sink, batch)) == {DELIVERED: 9}


async def test_a_record_alone_is_given_up_when_elm_answers_the_read_back_for_long(elm: ElmServer) -> None:
    elm.state.faults.add(*poison(0))
    async with opened(elm, suspect_patience=3_600.0) as patient:
        assert await until_written(patient, callbacks(1), tries=12) == (12, [])
    async with opened(elm, suspect_patience=0.0) as sink:
        tries, (result,) = await until_written(sink, callbacks(1))
    assert (tries, result.outcome, result.http_status) == (5, REJECTED, 500)


async def test_a_record_alone_waits_while_elm_does_not_answer_the_read_back(elm: ElmServer) -> None:
    async with opened(elm, suspect_patience=0.0, retries=0) as sink:
        for number in range(12):
            elm.state.faults.clear()
            method: Literal["GET", "POST"] = "GET" if number % 2 else "POST"
            elm.state.faults.add(Fault(kind="status", endpoint="completion", method=method, status=500))
            if number < 8:
                with pytest.raises(RetryLater):
                    await sink.write(callbacks(1))
        elm.state.faults.clear()
        assert outcomes(await written(sink, callbacks(1))) == {DELIVERED: 1}


async def test_a_suspect_that_elm_takes_after_all_is_delivered_and_forgotten(elm: ElmServer) -> None:
    batch = callbacks(6)
    elm.state.faults.add(*poison(2, count=10))
    async with opened(elm) as sink:
        _, results = await until_written(sink, batch)
        assert outcomes(results) == {DELIVERED: 6}
        other = replace(batch[2], enrolment_id=EnrolmentId("990000"), callback_id=CallbackId("other"))
        elm.state.faults.add(*poison(2, count=6))
        assert outcomes((await until_written(sink, [other]))[1]) == {DELIVERED: 1}


@pytest.mark.parametrize(("waiting", "given_up_after"), [(1, 600.0), (3, 1_800.0)])
def test_the_more_records_fail_the_longer_elm_is_taken_for_ill(waiting: int, given_up_after: float) -> None:
    now = 100.0
    suspects = Suspects(tries=2, patience=600.0, clock=lambda: now)
    places: list[Delivery] = [(n, 1) for n in range(waiting)]
    for _ in range(2):
        suspects.next_batch(places)
        for place in places:
            suspects.failed(place, answer(500, None), began=99.0)
    now = 100.0 + given_up_after - 1
    assert suspects.hopeless(places) == {}
    now += 1
    assert suspects.hopeless(places) == dict.fromkeys(places, 500)


def test_only_a_record_sent_after_the_failure_clears_elm() -> None:
    now = 100.0
    suspects = Suspects(tries=1, patience=600.0, clock=lambda: now)
    suspects.next_batch([(1, 1), (2, 1)])
    suspects.failed((1, 1), answer(500, None), began=98.0)
    suspects.taken((2, 1), began=99.0)
    assert suspects.hopeless([(1, 1)]) == {}
    suspects.taken((3, 1), began=101.0)
    assert suspects.hopeless([(1, 1)]) == {(1, 1): 500}


async def test_a_callback_that_elm_could_not_take_is_not_sent(elm: ElmServer) -> None:
    bad, good = callbacks(2)
    async with opened(elm) as sink:
        results = await written(sink, [replace(bad, enrolment_id=EnrolmentId("E-1")), good])
    assert [result.outcome for result in results] == [REJECTED, DELIVERED]
    assert (results[0].reason, results[0].http_status) == (Reason.INVALID_FIELD, None)


async def test_a_capped_read_back_is_read_to_its_end(elm: ElmServer) -> None:
    batch = callbacks(20)
    async with opened(elm) as sink:
        await written(sink, batch)
        elm.state.configure(page_cap=3)
        assert outcomes(await written(sink, batch)) == {THERE: 20}
    assert sum(stored(elm).values()) == 20


async def test_names_with_quotes_are_found_again(elm: ElmServer) -> None:
    odd = replace(callbacks(1)[0], person_id=PersonId("O'B+ %27&x=é"))
    async with opened(elm) as sink:
        await written(sink, [odd])
        assert outcomes(await written(sink, [odd])) == {THERE: 1}


async def test_a_server_that_takes_one_person_a_query_is_asked_so(elm: ElmServer) -> None:
    batch = callbacks(6)
    async with opened(elm) as sink:
        await written(sink, batch)
        elm.state.faults.add(Fault(kind="status", endpoint="completion", method="GET", status=400, count=1))
        elm.state.calls.clear()
        assert outcomes(await written(sink, batch)) == {THERE: 6}
    assert elm.state.calls["completion GET 200"] == 12, "each learner: the rows, then the empty page"
    assert sum(stored(elm).values()) == 6


async def test_requests_in_flight_are_bounded_and_carry_the_token_as_a_header() -> None:
    flying, peak = 0, 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal flying, peak
        assert request.headers["x-cdata-authtoken"] == "secret-token"
        assert "secret" not in str(request.url)
        flying += 1
        peak = max(peak, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        return web.json_response({"value": []})

    app = web.Application()
    app.router.add_route("*", "/c", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sink = ElmSink(settings(f"http://127.0.0.1:{runner.addresses[0][1]}/c", parallel=3))
        await sink.open()
        assert outcomes(await written(sink, callbacks(30))) == {DELIVERED: 30}
        await sink.close()
    finally:
        await runner.cleanup()
    assert peak == 3


def test_the_token_is_not_shown() -> None:
    assert "secret-token" not in repr(settings("http://elm.example.test"))
