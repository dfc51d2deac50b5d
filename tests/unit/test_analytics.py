"""What is counted in which minute, whatever the order and however often; and who reads the partitions."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import faust
import pytest
from aiokafka.cluster import ClusterMetadata
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from processors.analytics.counting import WINDOW, Event, Minutes, event_of
from processors.analytics.kafka import SoleAssignor, credentials
from processors.analytics.telling import as_ours
from schemas.calls import ApiCall, System
from schemas.elm import CallbackOutcome, CallbackResult
from schemas.ids import CallbackId, CommandId, CourseId, EnrolmentId, PersonId, Target, TenantId
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome
from schemas.rates import BOUNDS_MS, Rate, RateKind, bucket_of, quantile_ms

T, SITE = TenantId("t"), Target("default")
NOW = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)
MINUTE = datetime(2026, 11, 21, 12, 34, tzinfo=UTC)


def call(call_id: str, at: datetime = NOW, **changes: Any) -> ApiCall:
    fields: dict[str, Any] = {"function": "f", "duration_ms": 30, "code": "ok", "tenant": T} | changes
    return ApiCall(
        call_id=call_id, system=System.MOODLE, target=SITE, role="moodle-sink", started_at=at, **fields
    )


def result(command_id: str, outcome: Outcome, at: datetime = NOW) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(command_id),
        tenant=T,
        target=SITE,
        kind=CommandKind.ENROLMENT,
        generation=1,
        outcome=outcome,
        action=Action.NONE,
        completed_at=at,
    )


def callback(callback_id: str, outcome: CallbackOutcome) -> CallbackResult:
    return CallbackResult(
        callback_id=CallbackId(callback_id),
        tenant=T,
        enrolment_id=EnrolmentId("1"),
        person_id=PersonId("p"),
        course_id=CourseId("c"),
        outcome=outcome,
        completed_at=NOW,
    )


def counted(*events: Event, now: datetime = NOW) -> list[Rate]:
    minutes = Minutes()
    for event in events:
        minutes.add(event, now)
    return minutes.take_changed()


@pytest.mark.parametrize(
    ("record", "system", "function", "total_failed_auth"),
    [
        (call("1"), System.MOODLE, "f", (1, 0, 0)),
        (call("1", code="http_503"), System.MOODLE, "f", (1, 1, 0)),
        (call("1", code="invalidtoken"), System.MOODLE, "f", (1, 1, 1)),
        (result("1", Outcome.APPLIED), System.MOODLE, "ENROLMENT", (1, 0, 0)),
        (result("1", Outcome.NOT_FOUND), System.MOODLE, "ENROLMENT", (1, 0, 0)),
        (result("1", Outcome.SUPERSEDED), System.MOODLE, "ENROLMENT", (1, 0, 0)),
        (result("1", Outcome.CONFLICT), System.MOODLE, "ENROLMENT", (1, 1, 0)),
        (result("1", Outcome.REJECTED), System.MOODLE, "ENROLMENT", (1, 1, 0)),
        (callback("1", CallbackOutcome.ALREADY_THERE), System.ELM, "COMPLETION", (1, 0, 0)),
        (callback("1", CallbackOutcome.REJECTED), System.ELM, "COMPLETION", (1, 1, 0)),
    ],
)
def test_each_kind_of_record_counts(
    record: ApiCall | MoodleResult | CallbackResult,
    system: System,
    function: str,
    total_failed_auth: tuple[int, int, int],
) -> None:
    (rate,) = counted(event_of(record))
    assert (rate.system, rate.function, rate.minute, rate.tenant) == (system, function, MINUTE, T)
    assert (rate.total, rate.failed, rate.auth_failed) == total_failed_auth
    assert rate.kind is (RateKind.CALL if isinstance(record, ApiCall) else RateKind.RESULT)
    assert sum(rate.buckets) == isinstance(record, ApiCall)


def test_a_rate_of_nobody_has_an_empty_tenant_and_its_key_tells_the_minute() -> None:
    (rate,) = counted(event_of(call("1", tenant=None)))
    assert rate.key == "CALL||MOODLE|default|f|2026-11-21T12:34Z"


# Few ids, functions and minutes, so that repetitions and neighbours are many. One id is one event.
EVENTS = st.integers(0, 40).map(
    lambda n: event_of(
        call(
            f"c{n}",
            NOW - timedelta(minutes=n % 3),
            function=f"f{n % 2}",
            duration_ms=n * 2_000,
            code="ok" if n % 4 else "invalidtoken",
        )
        if n % 5
        else result(f"r{n}", list(Outcome)[n % len(Outcome)], NOW - timedelta(minutes=n % 3))
    )
)


@given(st.lists(EVENTS), st.data())
def test_in_any_order_and_with_any_repetition_the_counts_are_the_same(
    events: list[Event], data: st.DataObject
) -> None:
    once = list({event.event_id: event for event in events}.values())
    again = data.draw(st.lists(st.sampled_from(events))) if events else []
    assert counted(*data.draw(st.permutations(events + again))) == counted(*once)
    assert sum(rate.total for rate in counted(*events)) == len(once)


@given(st.lists(EVENTS), st.integers(0, 40))
def test_what_is_published_in_parts_ends_as_if_published_once(events: list[Event], parts: int) -> None:
    minutes, last = Minutes(), dict[str, Rate]()
    for start in range(0, len(events), parts + 1):
        for event in events[start : start + parts + 1]:
            minutes.add(event, NOW)
        last |= {rate.key: rate for rate in minutes.take_changed()}
    assert last == {rate.key: rate for rate in counted(*events)}
    assert minutes.take_changed() == []


def test_late_events_count_in_their_minute_until_it_is_closed() -> None:
    first_open = MINUTE - WINDOW + timedelta(minutes=1)
    late = [event_of(call("1", first_open)), event_of(call("2", first_open - timedelta(seconds=1)))]
    assert [rate.minute for rate in counted(*late)] == [first_open]
    minutes = Minutes()
    minutes.add(late[0], NOW)
    minutes.close(NOW + timedelta(minutes=1))
    assert (len(minutes), minutes.take_changed()) == (0, [])


def test_what_could_not_be_published_is_published_with_what_came_since() -> None:
    minutes = Minutes()
    minutes.add(event_of(call("1")), NOW)
    refused = minutes.take_changed()
    minutes.add(event_of(call("2")), NOW)
    minutes.put_back(refused)
    assert [rate.total for rate in minutes.take_changed()] == [2]
    minutes.close(NOW + WINDOW)
    minutes.put_back(refused)
    assert minutes.take_changed() == [], "its minute is closed"


@given(st.lists(st.integers(0, 100_000), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_the_bound_above_it(durations: list[int], share: float) -> None:
    places = [bucket_of(duration) for duration in durations]
    buckets = [places.count(place) for place in range(len(BOUNDS_MS))]
    bound = quantile_ms(buckets, len(durations), share)
    within = sum(duration <= (bound or 10**9) for duration in durations)
    assert within >= share * len(durations)
    below = [one for one in BOUNDS_MS if one < (bound or 10**9)]
    if below:
        assert sum(duration <= below[-1] for duration in durations) < share * len(durations)


def test_nothing_has_no_quantile() -> None:
    assert quantile_ms((), 0, 0.95) is None
    assert (bucket_of(10), bucket_of(11), bucket_of(60_001)) == (0, 1, None)


def test_one_worker_reads_all_partitions_of_all_topics() -> None:
    class Cluster(ClusterMetadata):  # type: ignore[misc]  # aiokafka has no types
        def partitions_for_topic(self, topic: str) -> set[int]:
            return {0, 1} if topic == "a" else {0}

    members = {name: SoleAssignor.metadata(["a", "b"]) for name in ("w.1-x", "w.0-y", "w.2-z")}
    found = {name: dict(one.assignment) for name, one in SoleAssignor.assign(Cluster(), members).items()}
    assert found == {"w.0-y": {"a": [0, 1], "b": [0]}, "w.1-x": {}, "w.2-z": {}}


def test_faust_reaches_the_brokers_as_the_settings_say() -> None:
    assert credentials({"bootstrap.servers": "b:1", "security.protocol": "PLAINTEXT"}) is None
    encrypted = credentials({"security.protocol": "SSL"})
    assert isinstance(encrypted, faust.SSLCredentials)
    assert encrypted.context.verify_mode is ssl.CERT_REQUIRED
    secret = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p"}
    named = credentials({"security.protocol": "SASL_PLAINTEXT", **secret})
    assert isinstance(named, faust.SASLCredentials)
    assert (named.protocol.value, named.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    both = credentials({"security.protocol": "SASL_SSL", **secret})
    assert isinstance(both, faust.SASLCredentials)
    assert (both.protocol.value, both.username, both.password) == ("SASL_SSL", "u", "p")


def test_warnings_of_libraries_are_log_lines_of_ours_but_not_endlessly() -> None:
    with capture_logs() as lines, as_ours("faust"):
        for seconds in (5, 6):
            logging.getLogger("faust.transport").warning("slow: %s", seconds)
        logging.getLogger("faust.transport").info("quiet")
    assert [(line["event"], line["log_level"], line["message"]) for line in lines] == [
        ("library_says", "warning", "slow: 5")
    ]
