"""The one way in: a batch of records, whatever their source, in one PostgreSQL transaction.

Each record is compared with the one kept for (tenant, source, kind, id); what changed is stored, its events
go to the outbox, and the caller's own writes (a cursor, a run, an idempotency key) commit with it. All SQL
is in bulk. Why it is right with many writers is told in ``docs/decisions/0004-outbox-intake.md``.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import psycopg
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from infra import tracing
from infra.db.connect import database_trouble, raw
from infra.metrics import INTAKE
from infra.tracing import Kind, Passage
from producers import invalid, kept, outbox
from producers.candidates import (
    Answer,
    Candidate,
    Invalid,
    Origin,
    SourceRecord,
    State,
    Status,
    Valid,
    Verdict,
    canonical,
    changes,
    decide,
    digest_of,
)
from producers.kept import Key
from schemas.ids import deterministic_id

_log = structlog.get_logger()

_CHANGES = (Status.NEW, Status.UPDATED)
Also = Callable[[Connection, Sequence[Answer]], None]
"""What else is written in the transaction, knowing the answers."""

_ATTEMPTS = 5
_COLLISIONS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
# What can be wrong with the values of a single record, found only by encoding or storing it.
_RECORD_FAULTS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    msgspec.MsgspecError,
    UnicodeEncodeError,
    OverflowError,
)
NOTIFY_INTERVAL = 0.02
"""Seconds between two wake-up calls of one process; the relay looks again after longer than that."""
_FEW = 8
"""So few records are the news of a request: they are inserted or locked without a look beforehand."""


def nothing(connection: Connection, answers: Sequence[Answer]) -> None:
    """Write nothing else."""


class _Item(NamedTuple):
    """One record of a candidate, ready to be compared."""

    place: int
    order: int
    is_answer: bool
    record: SourceRecord
    digest: bytes
    content: str
    traceparent: str | None


@dataclass(slots=True)
class _Outcome:
    """What is known about the batch so far, by place of the candidates."""

    answers: dict[int, tuple[_Item, Verdict, State | None]] = field(default_factory=dict)
    """Item that gives the answer, what was decided, and the state before."""
    events: list[tuple[_Item, int]] = field(default_factory=list)
    """Items that changed, with the revision they became."""


@dataclass(slots=True)
class Intake:
    """Takes batches in. One object serves all threads of a process.

    Attributes:
        engine: from `infra.db.connect.engine`.
    """

    engine: Engine
    _notified: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, origin: Origin, candidates: Sequence[Candidate], also: Also = nothing) -> list[Answer]:
        """Handle ``candidates`` in order in one transaction, and answer each in that order.

        Args:
            origin: the tenant and source that all of them come from.
            candidates: up to some thousands of records; an id may come several times.
            also: called with the open transaction and the answers before the commit; it may run again
                when the transaction has to be repeated.

        Raises:
            RetryLater: the database is away. The batch was not stored, unless the connection was lost during
                the very commit; to take it again is right in both cases.
        """
        traces = tracing.contexts(len(candidates))
        with database_trouble(), tracing.batch("intake", Kind.PRODUCER, traces, begins=True) as passage:
            traced = _traced(candidates, traces, passage)
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return _counted(origin, self._take(origin, traced, also))
                except _COLLISIONS:
                    if attempt == _ATTEMPTS:
                        raise
                    _log.info("intake_repeated", source=origin.source, attempt=attempt)
        raise AssertionError("unreachable")

    def _take(self, origin: Origin, candidates: Sequence[Candidate], also: Also) -> list[Answer]:
        try:
            return self._commit(origin, candidates, also, _take_batch)
        except _RECORD_FAULTS as error:
            _log.warning(
                "intake_batch_split", source=origin.source, fault=_fault(error), size=len(candidates)
            )
        return self._commit(origin, candidates, also, _take_halves)

    def _commit(
        self,
        origin: Origin,
        candidates: Sequence[Candidate],
        also: Also,
        take: Callable[[Connection, Origin, Sequence[Candidate]], list[Answer]],
    ) -> list[Answer]:
        with self.engine.connect() as connection:
            with connection.begin():
                answers = take(connection, origin, candidates)
                also(connection, answers)
            if any(answer.events for answer in answers) and self._may_notify():
                _notify(connection)
        return answers

    def _may_notify(self) -> bool:
        """Tell whether the last wake-up call is long enough ago.

        Calls are made after the commit: inside the transaction they would make commits wait in line.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._notified < NOTIFY_INTERVAL:
                return False
            self._notified = now
            return True


def _traced(
    candidates: Sequence[Candidate], traces: Sequence[str | None], passage: Passage
) -> Sequence[Candidate]:
    """Return ``candidates`` with the traces that their events belong to."""
    going_on = [passage.of(trace) for trace in traces]
    if not any(going_on):
        return candidates
    return [
        replace(one, traceparent=trace) if isinstance(one, Valid) else one
        for one, trace in zip(candidates, going_on, strict=True)
    ]


def _counted(origin: Origin, answers: list[Answer]) -> list[Answer]:
    for (kind, status), count in Counter((one.kind, one.status) for one in answers).items():
        INTAKE.labels(origin.source, kind, status).inc(count)
    return answers


def _notify(connection: Connection) -> None:
    """Wake the relay. The batch is stored already, and without the call the relay looks a little later."""
    with suppress(psycopg.Error, DBAPIError), connection.begin():
        outbox.notify(raw(connection))


def _take_halves(connection: Connection, origin: Origin, candidates: Sequence[Candidate]) -> list[Answer]:
    """Take the batch in parts, each undone alone, so that only the record at fault ends as an ERROR."""
    try:
        with connection.begin_nested():
            return _take_batch(connection, origin, candidates)
    except _RECORD_FAULTS as error:
        if len(candidates) == 1:
            return [_error(candidates[0], _fault(error))]
    middle = len(candidates) // 2
    halves = (candidates[:middle], candidates[middle:])
    return [answer for half in halves for answer in _take_halves(connection, origin, half)]


def _take_batch(connection: Connection, origin: Origin, candidates: Sequence[Candidate]) -> list[Answer]:
    driver, outcome = raw(connection), _Outcome()
    groups = _items_by_key(candidates)
    # Where most is as it was, a look at what is kept spares the locks.
    found = kept.read(driver, origin, list(groups)) if len(groups) > _FEW else {}
    settled = _settle(groups, found, outcome)
    open_keys = sorted(key for key in groups if key not in settled)
    if open_keys:
        _change(driver, origin, {key: groups[key] for key in open_keys}, outcome)
    counts = _write_events(driver, origin, outcome)
    changed = {
        (item.record.kind, item.record.record_id): place
        for place, (item, verdict, _) in sorted(outcome.answers.items())
        if verdict.status in _CHANGES
    }
    invalid.solve(driver, origin, list(changed))
    known = invalid.keep(driver, origin, candidates, changed)
    return [_answer(place, each, outcome, counts, known) for place, each in enumerate(candidates)]


def _answer(
    place: int, candidate: Candidate, outcome: _Outcome, counts: dict[int, int], known: set[int]
) -> Answer:
    if isinstance(candidate, Valid):
        item, verdict, before = outcome.answers[place]
        old = before.content if before and verdict.status is Status.UPDATED else None
        return Answer(
            item.record.kind,
            item.record.record_id,
            verdict.status,
            changes=None if old is None else changes(old, item.record.content),
            reason=verdict.reason,
            events=counts.get(place, 0),
        )
    kind, name, reason = candidate.kind, candidate.record_id, candidate.reason
    if isinstance(candidate, Invalid):
        return Answer(kind, name, Status.INVALID, field=candidate.field, reason=reason, known=place in known)
    return Answer(kind, name, Status.SKIPPED, reason=reason)


def _error(candidate: Candidate, fault: str) -> Answer:
    about = candidate.records[-1] if isinstance(candidate, Valid) else candidate
    return Answer(about.kind, about.record_id, Status.ERROR, reason=fault)


def _fault(error: Exception) -> str:
    """Name an error without its text, which may hold values of the record."""
    return getattr(error, "sqlstate", None) or type(error).__name__


def _items_by_key(candidates: Sequence[Candidate]) -> dict[Key, list[_Item]]:
    groups: dict[Key, list[_Item]] = {}
    for place, candidate in enumerate(candidates):
        if isinstance(candidate, Valid):
            last = len(candidate.records) - 1
            for order, record in enumerate(candidate.records):
                content = canonical(record.content)
                mark, trace = digest_of(content), candidate.traceparent
                item = _Item(place, order, order == last, record, mark, content, trace)
                groups.setdefault((record.kind, record.record_id), []).append(item)
    return groups


def _settle(groups: dict[Key, list[_Item]], found: dict[Key, State], outcome: _Outcome) -> set[Key]:
    """Answer what leaves its record as it is; versions only grow, so this needs no lock."""
    settled = set()
    for key, state in found.items():
        verdicts = [decide(state, item.record.version, item.digest, item.content) for item in groups[key]]
        if all(verdict.state is state for verdict in verdicts):
            settled.add(key)
            for item, verdict in zip(groups[key], verdicts, strict=True):
                _note(outcome, item, verdict)
    return settled


def _change(
    driver: psycopg.Connection, origin: Origin, groups: dict[Key, list[_Item]], outcome: _Outcome
) -> None:
    """Insert or lock the records in the order of their keys, compare anew, and store what changed."""
    first = {key: _first_state(items[0]) for key, items in groups.items()}
    inserted = kept.insert_or_lock(driver, origin, first)
    there = [key for key in groups if key not in inserted]
    before = kept.read(driver, origin, there, with_content=True)
    changed: dict[Key, State] = {}
    for key, items in groups.items():
        stored = first[key] if key in inserted else before[key]
        if key in inserted:
            _note(outcome, items[0], Verdict(Status.NEW, stored))
        after = _fold(stored, items[1:] if key in inserted else items, outcome)
        if after is not stored:
            changed[key] = after
    if changed:
        kept.update(driver, origin, changed)


def _fold(state: State, items: Sequence[_Item], outcome: _Outcome) -> State:
    """Apply ``items`` one after the other, each seeing what the one before it left."""
    for item in items:
        verdict = decide(state, item.record.version, item.digest, item.content)
        _note(outcome, item, verdict, state)
        state = verdict.state
    return state


def _note(outcome: _Outcome, item: _Item, verdict: Verdict, before: State | None = None) -> None:
    if verdict.status in _CHANGES:
        outcome.events.append((item, verdict.state.revision))
    if item.is_answer:
        outcome.answers[item.place] = (item, verdict, before)


def _first_state(item: _Item) -> State:
    return State(1, item.record.version, item.digest, b"", item.content)


def _write_events(driver: psycopg.Connection, origin: Origin, outcome: _Outcome) -> dict[int, int]:
    """Write the events in the order of the candidates; return how many by place."""
    counts: dict[int, int] = {}
    events: list[outbox.Event] = []
    source = f"rosterhub/intake/{origin.source}"
    for item, revision in sorted(outcome.events, key=_in_order):
        record, version = item.record, item.record.version
        counts[item.place] = counts.get(item.place, 0) + len(record.events)
        change = f"{revision} {version.time.isoformat()} {version.sequence} {item.digest.hex()}"
        own = (origin.tenant, origin.source, record.kind, record.record_id, change)
        for number, output in enumerate(record.events):
            event_id = deterministic_id(output.topic.name, str(number), *own)
            events.append(outbox.Event(output, event_id, source, item.traceparent))
    if events:
        outbox.write(driver, events)
    return counts


def _in_order(entry: tuple[_Item, int]) -> tuple[int, int]:
    return entry[0].place, entry[0].order
