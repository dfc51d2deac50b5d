"""The rules of the hub's own alerts: what is found in which facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.turns import Work
from producers.alerts.facts import Backlog, Facts, Feed, Held, Limits, Source, Traffic
from producers.alerts.gathering import FEEDS
from producers.alerts.model import Alert, Finding, Severity
from producers.alerts.notices import ENTRIES
from producers.alerts.rules import RULES, judge, patience
from producers.elm.to_events import SOURCE as ELM
from producers.sis.records import SOURCE as SIS
from producers.timing import Timing
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.ids import TenantId
from schemas.rates import BOUNDS_MS, bucket_of

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
"""A Wednesday."""
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOUSE = TenantId("house")


def facts(**changes: Any) -> Facts:
    return Facts(**{"now": NOON, "watched_since": NOON - 24 * HOUR, "tenant": HOUSE, **changes})


def found(given: Facts, limits: Limits | None = None) -> list[Finding]:
    return list(judge(given, limits or Limits()).findings)


def told(findings: Sequence[Finding]) -> list[tuple[str, str, Severity]]:
    return [(one.name.alert, one.name.subject, one.severity) for one in findings]


def calls(total: int, failed: int = 0, auth_failed: int = 0, ms: int = 30, **changes: Any) -> Traffic:
    buckets = [0] * len(BOUNDS_MS)
    if (place := bucket_of(ms)) is not None:
        buckets[place] = total
    usual = {"tenant": HOUSE, "kind": "CALL", "system": "MOODLE", "target": "default", "function": "f"}
    counts = {"total": total, "failed": failed, "auth_failed": auth_failed, "buckets": buckets}
    return Traffic(**{**usual, **counts, **changes})


FAILURES: dict[str, tuple[list[Traffic], int]] = {
    "nothing at all": ([], 0),
    "just five in a hundred": ([calls(100, 5)], 0),
    "more than five": ([calls(100, 6)], 1),
    "too few calls to tell": ([calls(19, 19)], 0),
    "just enough calls": ([calls(20, 2)], 1),
    "all functions of a site together": ([calls(90, 0), calls(10, 6, function="g")], 1),
    "sites apart": ([calls(100, 0), calls(100, 50, target="north")], 1),
    "tenants apart": ([calls(100, 50), calls(100, 50, tenant=TenantId("other"))], 2),
    "results apart": ([calls(100), calls(100, 50, kind="RESULT", buckets=())], 0),
}


@pytest.mark.parametrize("case", FAILURES)
def test_too_many_failures(case: str) -> None:
    traffic, expected = FAILURES[case]
    findings = [one for one in found(facts(traffic=traffic)) if one.name.alert == Alert.CALL_FAILURES]
    assert len(findings) == expected
    assert {one.severity for one in findings} <= {Severity.CRITICAL}


def test_what_is_told_of_failures() -> None:
    one, two = found(facts(traffic=[calls(1_000, 71), calls(50, 10, kind="RESULT", buckets=())]))
    assert one.message == "7.1 % of the calls to Moodle default failed within 15 min (71 of 1,000)."
    assert one.details["failed_by_function"] == {"f": 71}
    assert told([one, two]) == [
        (Alert.CALL_FAILURES, "MOODLE/default", Severity.CRITICAL),
        (Alert.RESULT_FAILURES, "MOODLE/default", Severity.CRITICAL),
    ]
    assert two.message == "20 % of the results of Moodle default failed within 15 min (10 of 50)."


SLOW: dict[str, tuple[list[Traffic], bool]] = {
    "as long as it may be": ([calls(100, ms=5_000)], False),
    "longer": ([calls(100, ms=5_001)], True),
    "longer than every bound": ([calls(100, ms=600_000)], True),
    "five slow ones in a hundred": ([calls(95), calls(5, ms=9_000, function="g")], False),
    "six of them": ([calls(94), calls(6, ms=9_000, function="g")], True),
    "too few to tell": ([calls(19, ms=9_000)], False),
    "not of Moodle": ([calls(100, ms=9_000, system="ELM", target="elm")], False),
}


@pytest.mark.parametrize("case", SLOW)
def test_slow_calls(case: str) -> None:
    traffic, expected = SLOW[case]
    findings = found(facts(traffic=traffic))
    assert told(findings) == [(Alert.SLOW_CALLS, "MOODLE/default", Severity.WARNING)] * expected


def test_a_single_call_that_was_not_let_in_is_enough() -> None:
    (one,) = found(facts(traffic=[calls(1, 1, 1, function="core_user_get_users")]))
    assert told([one]) == [(Alert.AUTHENTICATION, "MOODLE/default", Severity.CRITICAL)]
    assert one.details["refused_by_function"] == {"core_user_get_users": 1}
    (elm,) = found(facts(traffic=[calls(2, 1, 1, system="ELM", target="elm")]))
    assert elm.message.startswith("ELM does not let the hub in")


EVERY_MINUTE = Timing(every=MINUTE)
HOURLY = Timing(every=HOUR)
OFFICE = Timing(every=HOUR, only="mon-fri 08:00-18:00")
NIGHTLY = Timing(cron="30 3 * * *")


def feed(timing: Timing, since: timedelta, **changes: Any) -> Feed:
    return Feed(**{"tenant": HOUSE, "target": "ELM", "timing": timing, "since": NOON - since, **changes})


def failing(count: int, since: timedelta, reason: str = "http_503") -> dict[str, Any]:
    return {"failures": count, "failing_since": NOON - since, "reason": reason}


BLOCKED: dict[str, tuple[Feed, bool]] = {
    "a moment ago": (feed(EVERY_MINUTE, MINUTE), False),
    "a short interval has a quarter of an hour": (feed(EVERY_MINUTE, 14 * MINUTE), False),
    "and no more": (feed(EVERY_MINUTE, 15 * MINUTE), True),
    "three intervals": (feed(HOURLY, 3 * HOUR - MINUTE), False),
    "three intervals are over": (feed(HOURLY, 3 * HOUR), True),
    "within office hours": (feed(OFFICE, 3 * HOUR), True),
    # Its turns were at eight, nine and ten.
    "since yesterday evening": (feed(OFFICE, 18 * HOUR), True),
    "two nights": (feed(NIGHTLY, 56 * HOUR), False),
    "three nights": (feed(NIGHTLY, 57 * HOUR), True),
    "two failures": (feed(HOURLY, HOUR, **failing(2, 40 * MINUTE)), False),
    "three failures": (feed(HOURLY, HOUR, **failing(3, 40 * MINUTE)), True),
    "three quick failures": (feed(EVERY_MINUTE, 10 * MINUTE, **failing(3, 9 * MINUTE)), False),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_a_feed_is_blocked(case: str) -> None:
    given, expected = BLOCKED[case]
    findings = found(facts(feeds=[given]))
    assert told(findings) == [(Alert.FEED, "ELM", Severity.CRITICAL)] * expected
    assert all(one.is_new for one in findings)


def test_quiet_hours_are_not_counted_and_nothing_begins_in_them() -> None:
    night = datetime(2026, 11, 18, 23, tzinfo=UTC)
    quiet = Timing(every=MINUTE, quiet="22:00-06:00")
    given = replace(feed(quiet, timedelta()), since=datetime(2026, 11, 18, 21, 59, tzinfo=UTC))
    assert patience(given, 3) == datetime(2026, 11, 19, 6, 14, tzinfo=UTC)
    assert found(facts(now=night, feeds=[given])) == []
    # What was blocked before them stays so, and is not told now.
    (one,) = found(facts(now=night, feeds=[replace(given, since=night - 2 * HOUR)]))
    assert not one.is_new
    morning = datetime(2026, 11, 19, 6, tzinfo=UTC)
    (one,) = found(facts(now=morning, feeds=[replace(given, since=night - 2 * HOUR)]))
    assert one.is_new


def test_after_a_start_a_feed_has_its_next_turn_first() -> None:
    for given in (feed(HOURLY, 12 * HOUR), feed(HOURLY, 12 * HOUR, **failing(9, 12 * HOUR))):
        (one,) = found(facts(feeds=[given], watched_since=NOON - 74 * MINUTE))
        assert not one.is_new, "an incident that is open stays so"
        (one,) = found(facts(feeds=[given], watched_since=NOON - 75 * MINUTE))
        assert one.is_new


def test_what_is_told_of_a_blocked_feed() -> None:
    (one,) = found(facts(feeds=[feed(HOURLY, 5 * HOUR, **failing(5, 4 * HOUR))]))
    since = "No pull of ELM has succeeded since 2026-11-18 07:00 UTC: "
    assert one.message == f"{since}5 runs failed, the last with http_503."
    (one,) = found(facts(feeds=[feed(HOURLY, 5 * HOUR)]))
    assert one.message == f"{since}there was no run that failed either."


@pytest.mark.parametrize("reason", ["unauthorised", "token_refused"])
def test_a_source_that_does_not_let_the_hub_in_is_told_at_once(reason: str) -> None:
    findings = found(facts(feeds=[feed(HOURLY, MINUTE, **failing(1, MINUTE, reason))]))
    assert told(findings) == [(Alert.FEED_AUTHENTICATION, "ELM", Severity.CRITICAL)]
    assert found(facts(feeds=[feed(HOURLY, MINUTE, reason=reason)])) == [], "it lets it in again"


def test_what_is_held_for_too_long() -> None:
    held = Held(HOUSE, "enrolment", NOON - 26 * HOUR, {"account": 3, "course": 1})
    (parked,) = found(facts(parked=[held]))
    assert parked.message == "4 enrolments parked for too long, the oldest for 26 h."
    assert parked.details["waits_for"] == {"account": 3, "course": 1}
    (conflict,) = found(facts(conflicts=[Held(HOUSE, "account", NOON - 49 * HOUR, {"EMAIL_TAKEN": 1})]))
    assert conflict.message == "1 account in conflict for too long, the oldest for 2 days."
    assert told([parked, conflict]) == [
        (Alert.PARKED, "enrolment", Severity.WARNING),
        (Alert.CONFLICTS, "account", Severity.WARNING),
    ]


OUTBOX: dict[str, tuple[Backlog, list[tuple[str, str, Severity]]]] = {
    "empty": (Backlog(), []),
    "young": (Backlog(9, NOON - 5 * MINUTE), []),
    "old": (Backlog(9, NOON - 6 * MINUTE), [(Alert.OUTBOX, "events", Severity.WARNING)]),
    "very old": (Backlog(9, NOON - 21 * MINUTE), [(Alert.OUTBOX, "events", Severity.CRITICAL)]),
    "set aside": (
        Backlog(0, None, 2, NOON - 6 * MINUTE),
        [(Alert.OUTBOX_SET_ASIDE, "events", Severity.WARNING)],
    ),
}


@pytest.mark.parametrize("case", OUTBOX)
def test_the_outbox(case: str) -> None:
    backlog, expected = OUTBOX[case]
    assert told(found(facts(outbox=backlog))) == expected


def test_facts_that_are_missing_are_told_and_judge_nothing() -> None:
    blind = {Source.RATES: "there is no table for rates yet"}
    given = facts(traffic=[calls(100, 50)], outbox=Backlog(1, NOON - HOUR), blind=blind)
    judgement = judge(given, Limits())
    assert judgement.unseen == {
        Alert.CALL_FAILURES,
        Alert.RESULT_FAILURES,
        Alert.SLOW_CALLS,
        Alert.AUTHENTICATION,
    }
    first, second = judgement.findings
    assert told([first]) == [(Alert.UNWATCHED, "rates", Severity.WARNING)]
    assert first.message == (
        "Nothing is known for the alerts call-failures, result-failures, slow-calls, authentication: "
        "there is no table for rates yet."
    )
    assert second.name.alert == Alert.OUTBOX, "the other rules go on"
    starting = judge(replace(given, watched_since=NOON - 4 * MINUTE), Limits()).findings[0]
    assert not starting.is_new, "what makes them starts too"


def test_every_alert_has_its_rule() -> None:
    assert {rule.alert for rule in RULES} | {Alert.UNWATCHED} == set(Alert)


def test_feeds_are_called_what_their_runs_call_them() -> None:
    assert FEEDS == {Work.ELM: ELM, Work.SIS: SIS, Work.ZOHO: ZOHO}


def test_every_alert_has_its_entry_in_the_runbook_and_its_line_in_the_page() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    runbook = (docs / "runbook.md").read_text("utf-8").lower().splitlines()
    assert set(ENTRIES) == set(Alert)
    assert [entry for entry in ENTRIES.values() if f"### {entry}" not in runbook] == []
    page = (docs / "alerts.md").read_text("utf-8")
    assert [alert for alert in Alert if f"\n| `{alert}` | " not in page] == []
