"""The rules: from facts to findings, each a pure function, all in one table."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from producers.alerts.facts import Facts, Feed, Held, Limits, Source, Traffic
from producers.alerts.model import Alert, Finding, Judgement, Name, Severity
from producers.timing import is_open, next_run
from schemas.calls import System
from schemas.ids import TenantId
from schemas.rates import BOUNDS_MS, RateKind, quantile_ms

LEAST: Final = timedelta(minutes=15)
"""A feed is not blocked before so much of its open hours has passed, however short its interval."""
STARTING: Final = timedelta(minutes=5)
"""So long after the start facts may be missing: their makers start too."""
GRAVE: Final = 4
"""An outbox that is so many times too old is critical."""
NO_ENTRY: Final = frozenset({"unauthorised", "token_refused"})
"""Reasons of runs that mean that a source does not let the hub in."""
_WORST: Final = 5
"""Functions that details name."""
_SYSTEMS: Final[Mapping[str, str]] = {System.MOODLE: "Moodle", System.ELM: "ELM"}
_LONGER: Final = BOUNDS_MS[-1] + 1
"""Milliseconds that stand for a time behind the last bound."""


class Rule(NamedTuple):
    """One rule.

    Attributes:
        alert: what it finds.
        source: the facts without which it can say nothing.
        find: finds it.
    """

    alert: Alert
    source: Source
    find: Callable[[Facts, Limits], Iterator[Finding]]


def judge(facts: Facts, limits: Limits) -> Judgement:
    """Return what the rules say of ``facts``; where facts are missing, that is told instead."""
    findings = [_unwatched(facts, *blind) for blind in facts.blind.items()]
    for rule in RULES:
        if rule.source not in facts.blind:
            findings += rule.find(facts, limits)
    return Judgement(findings, frozenset(rule.alert for rule in RULES if rule.source in facts.blind))


def _call_failures(facts: Facts, limits: Limits) -> Iterator[Finding]:
    yield from _failures(facts, limits, Alert.CALL_FAILURES, RateKind.CALL, "calls to")


def _result_failures(facts: Facts, limits: Limits) -> Iterator[Finding]:
    yield from _failures(facts, limits, Alert.RESULT_FAILURES, RateKind.RESULT, "results of")


def _failures(facts: Facts, limits: Limits, alert: Alert, kind: RateKind, what: str) -> Iterator[Finding]:
    for place, parts in _by_place(one for one in facts.traffic if one.kind == kind).items():
        total, failed = sum(one.total for one in parts), sum(one.failed for one in parts)
        if total < limits.least_traffic or failed <= limits.failed_share * total:
            continue
        percent = round(100 * failed / total, 1)
        worst = _largest({one.function: one.failed for one in parts if one.failed})
        yield Finding(
            Name(place.tenant, alert, place.subject),
            Severity.CRITICAL,
            f"{percent:g} % of the {what} {place.site} failed within {_span(limits.window)} "
            f"({failed:,} of {total:,}).",
            {"total": total, "failed": failed, "percent": percent, "failed_by_function": worst},
        )


def _slow_calls(facts: Facts, limits: Limits) -> Iterator[Finding]:
    calls = (one for one in facts.traffic if (one.kind, one.system) == (RateKind.CALL, System.MOODLE))
    for place, parts in _by_place(calls).items():
        total, slow = sum(one.total for one in parts), _p95(parts)
        if total < limits.least_traffic or slow <= limits.call_ms:
            continue
        by_function = {one.function: _p95([one]) for one in parts}
        yield Finding(
            Name(place.tenant, Alert.SLOW_CALLS, place.subject),
            Severity.WARNING,
            f"One in twenty calls to {place.site} took longer than {limits.call_ms / 1000:g} s within "
            f"{_span(limits.window)} ({total:,} calls).",
            {"total": total, "p95_ms": slow, "p95_ms_by_function": _largest(by_function)},
        )


def _authentication(facts: Facts, _limits: Limits) -> Iterator[Finding]:
    for place, parts in _by_place(one for one in facts.traffic if one.kind == RateKind.CALL).items():
        refused = _largest({one.function: one.auth_failed for one in parts if one.auth_failed})
        if refused:
            count = sum(one.auth_failed for one in parts)
            yield Finding(
                Name(place.tenant, Alert.AUTHENTICATION, place.subject),
                Severity.CRITICAL,
                f"{place.site} does not let the hub in: {count:,} calls were refused for token or rights.",
                {"refused": count, "refused_by_function": refused},
            )


def _feed_authentication(facts: Facts, _limits: Limits) -> Iterator[Finding]:
    for feed in facts.feeds:
        if feed.failures and feed.reason in NO_ENTRY:
            yield Finding(
                Name(feed.tenant, Alert.FEED_AUTHENTICATION, feed.target),
                Severity.CRITICAL,
                f"{feed.target} does not let the hub in: the last pull ended with {feed.reason}.",
                {"reason": feed.reason, "failures": feed.failures},
            )


def _blocked_feeds(facts: Facts, limits: Limits) -> Iterator[Finding]:
    for feed in facts.feeds:
        if not _is_blocked(feed, facts.now, limits.feed_runs):
            continue
        message = f"No pull of {feed.target} has succeeded since {feed.since:%Y-%m-%d %H:%M} UTC: "
        if feed.failures:
            message += f"{_times(feed.failures, 'run')} failed, the last with {feed.reason}."
        else:
            message += "there was no run that failed either."
        yield Finding(
            Name(feed.tenant, Alert.FEED, feed.target),
            Severity.CRITICAL,
            message,
            {"since": feed.since.isoformat(), "failures": feed.failures, "reason": feed.reason},
            is_new=_may_begin(feed, facts),
        )


def _is_blocked(feed: Feed, now: datetime, runs: int) -> bool:
    """Tell whether the feed fails or is late."""
    if feed.failures >= runs and feed.failing_since is not None and now - feed.failing_since >= LEAST:
        return True
    due = patience(feed, runs)
    return due is not None and now >= due


def _may_begin(feed: Feed, facts: Facts) -> bool:
    """Tell whether it can be told: not in quiet hours, and not before its first turn since the hub runs."""
    turn = next_run(feed.timing, facts.watched_since)
    return is_open(feed.timing, facts.now) and turn is not None and facts.now >= turn + LEAST


def patience(feed: Feed, runs: int) -> datetime | None:
    """Return when ``feed`` is late: so many of its turns after the last success, and `LEAST` of its hours.

    None if it never comes.
    """
    every, timing = feed.timing.every, feed.timing
    count = runs if every is None else max(runs, math.ceil(LEAST / every))
    if every is not None and timing.only is None and timing.quiet is None:
        return feed.since + count * every
    moment: datetime | None = feed.since
    for _ in range(count):
        moment = moment and next_run(timing, moment)
    return moment


def _parked(facts: Facts, _limits: Limits) -> Iterator[Finding]:
    for held in facts.parked:
        yield _of_held(held, Alert.PARKED, facts.now, f"{_times(held.count, held.what)} parked", "waits_for")


def _conflicts(facts: Facts, _limits: Limits) -> Iterator[Finding]:
    for held in facts.conflicts:
        what = f"{_times(held.count, held.what)} in conflict"
        yield _of_held(held, Alert.CONFLICTS, facts.now, what, "reasons")


def _of_held(held: Held, alert: Alert, now: datetime, what: str, counted: str) -> Finding:
    return Finding(
        Name(held.tenant, alert, held.what),
        Severity.WARNING,
        f"{what} for too long, the oldest for {_span(now - held.oldest)}.",
        {"count": held.count, "oldest": held.oldest.isoformat(), counted: dict(held.counts)},
    )


def _outbox(facts: Facts, limits: Limits) -> Iterator[Finding]:
    box = facts.outbox
    if box.oldest is not None and (age := facts.now - box.oldest) > limits.outbox:
        yield Finding(
            Name(facts.tenant, Alert.OUTBOX, "events"),
            Severity.CRITICAL if age > GRAVE * limits.outbox else Severity.WARNING,
            f"What was accepted does not reach Kafka: {_times(box.waiting, 'event')} in the outbox, the "
            f"oldest for {_span(age)}.",
            {"waiting": box.waiting, "oldest": box.oldest.isoformat()},
        )


def _outbox_set_aside(facts: Facts, limits: Limits) -> Iterator[Finding]:
    box = facts.outbox
    if box.set_aside_since is not None and facts.now - box.set_aside_since > limits.outbox:
        yield Finding(
            Name(facts.tenant, Alert.OUTBOX_SET_ASIDE, "events"),
            Severity.WARNING,
            f"{_times(box.set_aside, 'event')} in the outbox cannot be published as they are.",
            {"set_aside": box.set_aside, "oldest": box.set_aside_since.isoformat()},
        )


RULES: Final[Sequence[Rule]] = (
    Rule(Alert.CALL_FAILURES, Source.RATES, _call_failures),
    Rule(Alert.RESULT_FAILURES, Source.RATES, _result_failures),
    Rule(Alert.SLOW_CALLS, Source.RATES, _slow_calls),
    Rule(Alert.AUTHENTICATION, Source.RATES, _authentication),
    Rule(Alert.FEED_AUTHENTICATION, Source.FEEDS, _feed_authentication),
    Rule(Alert.FEED, Source.FEEDS, _blocked_feeds),
    Rule(Alert.PARKED, Source.PARKED, _parked),
    Rule(Alert.CONFLICTS, Source.CONFLICTS, _conflicts),
    Rule(Alert.OUTBOX, Source.OUTBOX, _outbox),
    Rule(Alert.OUTBOX_SET_ASIDE, Source.OUTBOX, _outbox_set_aside),
)


def _unwatched(facts: Facts, source: Source, reason: str) -> Finding:
    lost = ", ".join(rule.alert for rule in RULES if rule.source is source)
    return Finding(
        Name(facts.tenant, Alert.UNWATCHED, source),
        Severity.WARNING,
        f"Nothing is known for the alerts {lost}: {reason}.",
        {"reason": reason},
        is_new=facts.now - facts.watched_since >= STARTING,
    )


class _Place(NamedTuple):
    """What is judged as one: a system at one place, as one tenant meets it."""

    tenant: TenantId
    system: str
    target: str

    @property
    def subject(self) -> str:
        return f"{self.system}/{self.target}"

    @property
    def site(self) -> str:
        system = _SYSTEMS.get(self.system, self.system)
        return system if self.target == self.system.lower() else f"{system} {self.target}"


def _by_place(traffic: Iterable[Traffic]) -> dict[_Place, list[Traffic]]:
    found: dict[_Place, list[Traffic]] = {}
    for one in traffic:
        found.setdefault(_Place(one.tenant, one.system, one.target), []).append(one)
    return found


def _p95(parts: Sequence[Traffic]) -> int:
    """Return milliseconds that 95 % of the calls did not exceed; `_LONGER` if the last bound is too low."""
    total = sum(one.total for one in parts)
    buckets = [sum(counts) for counts in zip(*(one.buckets for one in parts), strict=True)]
    found = quantile_ms(buckets, total, 0.95)
    return _LONGER if found is None and total else found or 0


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_WORST])


def _span(duration: timedelta) -> str:
    """Return a duration in its largest unit, such as ``26 h``."""
    minutes = int(duration.total_seconds() // 60)
    if minutes >= 2 * 24 * 60:
        return f"{minutes // (24 * 60)} days"
    return f"{minutes // 60} h" if minutes >= 2 * 60 else f"{minutes} min"


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
