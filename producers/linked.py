"""Records that need others of their source: parsed beside what is known, parked until that comes.

An enrolment is of a person and a class. When one of them is not known yet, the enrolment answers SKIPPED, is
kept in ``parked_records``, and is taken by itself as soon as the missing record is.

No wake-up is lost with many writers: who brings a record looks, after its commit, for what waits for it, and
who parks one looks, after its commit, whether the missing record has come meanwhile. Of two such transactions
the one that commits last sees the other. What a crash leaves between commit and look, `wake_all` finds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from infra.db.connect import database_trouble, raw, reading
from infra.errors import RetryLater
from infra.stage import Output
from producers import kept, outbox, parked
from producers.candidates import Answer, Candidate, Origin, Skipped, Status, Valid
from producers.intake import Also, Intake, nothing
from producers.kept import Key
from producers.parked import Parked
from schemas.ids import deterministic_id
from schemas.version import Version

DELETED: Final = "deleted"
"""Field of a kept content: the source no longer has the record."""

_CHUNK = 1_000
_ATTEMPTS = 5
_log = structlog.get_logger()


class Ref(NamedTuple):
    """A record of the same tenant and source, as it is kept in ``source_records``."""

    kind: str
    record_id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A usable record that needs another one first.

    Attributes:
        kind: its kind.
        record_id: its id.
        missing: what it waits for.
        reason: such as ``student_not_synced_yet``.
        version: its version; none: the time of its receipt.
    """

    kind: str
    record_id: str
    missing: Ref
    reason: str
    version: Version | None = None


Known = Mapping[Ref, Mapping[str, Any]]
"""Contents of the records that are referred to, as far as they are kept."""
Refs = Callable[[object], Sequence[Ref]]
Parse = Callable[[object, Known, datetime], Candidate | Waiting]
Follow = Callable[[Valid, Answer], Sequence[Output]]


def no_refs(_record: object) -> Sequence[Ref]:
    """Refer to nothing."""
    return ()


def nothing_follows(_candidate: Valid, _answer: Answer) -> Sequence[Output]:
    """Publish nothing else."""
    return ()


@dataclass(frozen=True, slots=True)
class LinkedKind:
    """How the records of one kind are read.

    Attributes:
        name: of the kind, as `Waiting.kind` and the kept records have it.
        refs: which records a raw record refers to; it never raises. A record may refer to itself, for what
            was last known of it. Deleted records of other kinds are as good as missing.
        parse: raw record, contents of what it refers to, time of receipt (UTC): what it means; it never
            raises.
        follow: what is published besides when a record became UPDATED, known under its lock: such as that an
            enrolment is no longer in the class it was in.
        companions: kinds that are made of the same raw records; they give no answers of their own.
        is_awaited: whether other records may wait for one of this kind.
    """

    name: str
    refs: Refs
    parse: Parse
    follow: Follow = nothing_follows
    companions: tuple["LinkedKind", ...] = ()
    is_awaited: bool = True


Kinds = Mapping[str, LinkedKind]
"""The kinds of a source by name, so that what is woken can be parsed; companions included."""


class Item(NamedTuple):
    """One raw record with its kind and the time it was received (UTC)."""

    kind: LinkedKind
    raw: object
    received_at: datetime


class _Entry(NamedTuple):
    """One item, or a companion of one, as it goes into the intake.

    Attributes:
        is_first: it was read as the first that is heard of its record, and would mean more beside another.
    """

    item: Item
    candidate: Candidate
    waiting: Waiting | None
    parked: Parked | None
    is_answer: bool
    may_wait: bool
    is_first: bool


class _Before(NamedTuple):
    """What is known of a record before an item of it."""

    content: Mapping[str, Any]
    version: Version


class _OvertakenError(Exception):
    """Somebody else stored a record between the look at what is known of it and the transaction."""


def take_linked(
    intake: Intake,
    origin: Origin,
    raws: Sequence[object],
    kind: LinkedKind,
    recorded_at: datetime,
    kinds: Kinds,
    also: Also = nothing,
) -> list[Answer]:
    """Take raw records of one kind, in order, in one transaction; wake what waited for them.

    Args:
        intake: takes them.
        origin: their tenant and source.
        raws: as they came.
        kind: of all of them.
        recorded_at: UTC time of receipt.
        kinds: all kinds of the source.
        also: see `Intake.take`; it gets the answers to ``raws``.

    Returns:
        One answer for each raw record. A parked one is SKIPPED with its reason and the id that it waits for.

    Raises:
        RetryLater: the database is away; nothing was stored.
    """
    return take_items(intake, origin, [Item(kind, each, recorded_at) for each in raws], kinds, also)


def take_items(
    intake: Intake, origin: Origin, items: Sequence[Item], kinds: Kinds, also: Also = nothing
) -> list[Answer]:
    """Take raw records of any kinds, in order, in one transaction; see `take_linked`."""
    expanded = [(item, None, is_answer) for item, is_answer in _with_companions(items)]
    entries, answers = _read_and_take(intake, origin, expanded, also)
    try:
        _wake(intake, origin, kinds, _frontier(entries, answers))
    except RetryLater as error:
        # What was to be taken is taken; the sweep wakes the others.
        _log.warning("wake_postponed", source=origin.source, reason=str(error))
    return [answer for answer, entry in zip(answers, entries, strict=True) if entry.is_answer]


def wake_all(intake: Intake, origin: Origin, kinds: Kinds) -> int:
    """Take every parked record whose missing one is there; return how many were tried.

    Raises:
        RetryLater: the database is away.
    """
    after, tried = ("", ""), 0
    while True:
        with database_trouble(), intake.engine.connect() as connection:
            ripe = parked.ripe(raw(connection), origin, after, _CHUNK)
        if not ripe:
            return tried
        _log.info("parked_records_found_ripe", source=origin.source, count=len(ripe))
        tried += _take_parked(intake, origin, kinds, ripe)
        after = (ripe[-1].kind, ripe[-1].record_id)


def waiting_tenants(engine: Engine, source: str) -> list[Origin]:
    """Return the origins of ``source`` that have parked records."""
    with database_trouble(), engine.connect() as connection:
        return [Origin(tenant, source) for tenant in parked.tenants(raw(connection), source)]


def _with_companions(items: Sequence[Item]) -> Iterator[tuple[Item, bool]]:
    for item in items:
        yield item, True
        for companion in item.kind.companions:
            yield item._replace(kind=companion), False


def _read_and_take(
    intake: Intake,
    origin: Origin,
    items: Sequence[tuple[Item, Parked | None, bool]],
    also: Also,
) -> tuple[list[_Entry], list[Answer]]:
    """Read ``items`` beside what is known and take them, anew if somebody else was in between.

    Parked ones that go on waiting as before are left out.
    """
    for _ in range(_ATTEMPTS):
        entries = [entry for entry in _read(intake.engine, origin, items) if not _waits_as_before(entry)]
        if items and not entries:
            return [], []
        with suppress(_OvertakenError):
            return entries, _take(intake, origin, entries, also)
        _log.info("linked_records_read_again", source=origin.source, count=len(entries))
    raise RetryLater("others keep changing the same records")


def _read(engine: Engine, origin: Origin, items: Sequence[tuple[Item, Parked | None, bool]]) -> list[_Entry]:
    refs = [tuple(item.kind.refs(item.raw)) for item, _, _ in items]
    stored = _stored(engine, origin, sorted({ref for each in refs for ref in each}))
    # Of its own record an item also knows what items before it in the batch say; they are stored with it.
    latest = dict(stored)
    entries = []
    for (item, waited, is_answer), named in zip(items, refs, strict=True):
        known = _known(named, item.kind, stored, latest)
        meaning = item.kind.parse(item.raw, known, item.received_at)
        if isinstance(meaning, Waiting):
            skipped = Skipped(meaning.kind, meaning.record_id, meaning.reason)
            entries.append(_Entry(item, skipped, meaning, waited, is_answer, True, False))
        else:
            is_first = any(ref.kind == item.kind.name and ref not in known for ref in named)
            entries.append(_Entry(item, meaning, None, waited, is_answer, bool(named), is_first))
        if isinstance(meaning, Valid):
            _note(meaning, latest)
    return entries


def _known(
    named: Sequence[Ref], kind: LinkedKind, stored: Mapping[Ref, _Before], latest: Mapping[Ref, _Before]
) -> dict[Ref, Mapping[str, Any]]:
    """Return the contents of those of ``named`` that count for a record of ``kind``."""
    found = {ref: (latest if ref.kind == kind.name else stored).get(ref) for ref in named}
    return {
        ref: before.content
        for ref, before in found.items()
        if before is not None and (ref.kind == kind.name or DELETED not in before.content)
    }


def _note(candidate: Valid, latest: dict[Ref, _Before]) -> None:
    for record in candidate.records:
        ref = Ref(record.kind, record.record_id)
        if ref not in latest or latest[ref].version <= record.version:
            latest[ref] = _Before(record.content, record.version)


def _stored(engine: Engine, origin: Origin, refs: Sequence[Ref]) -> dict[Ref, _Before]:
    if not refs:
        return {}
    with reading(engine) as driver:
        found = kept.read(driver, origin, refs, with_content=True)
    return {
        Ref(*key): _Before(msgspec.json.decode(state.content or "{}"), state.version)
        for key, state in found.items()
    }


def _take(intake: Intake, origin: Origin, entries: Sequence[_Entry], also: Also) -> list[Answer]:
    def besides(connection: Connection, plain: Sequence[Answer]) -> None:
        if any(
            entry.is_first and answer.status is Status.UPDATED
            for entry, answer in zip(entries, plain, strict=True)
        ):
            raise _OvertakenError
        answers = _named(entries, plain)
        driver = raw(connection)
        waiting, done = _parking(entries, answers)
        parked.remove(driver, origin, done)
        parked.park(driver, origin, waiting)
        if following := list(_following(origin, entries, answers)):
            outbox.write(driver, following)
        also(connection, [each for each, entry in zip(answers, entries, strict=True) if entry.is_answer])

    return _named(entries, intake.take(origin, [entry.candidate for entry in entries], besides))


def _named(entries: Sequence[_Entry], answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers, those to parked records with the id that they wait for."""
    return [
        replace(answer, missing=entry.waiting.missing.record_id) if entry.waiting else answer
        for entry, answer in zip(entries, answers, strict=True)
    ]


def _parking(entries: Sequence[_Entry], answers: Sequence[Answer]) -> tuple[list[Parked], dict[Key, Version]]:
    """Tell which records are to be parked (the newest of each), and which are done up to which version."""
    waiting: dict[Key, Parked] = {}
    done: dict[Key, Version] = {}
    for entry, answer in zip(entries, answers, strict=True):
        if entry.waiting:
            row = _row(entry.item, entry.waiting)
            before = waiting.get(row[:2])
            if before is None or before.version <= row.version:
                waiting[row[:2]] = row
        elif (version := _version_done(entry, answer)) is not None:
            key = (entry.parked.kind, entry.parked.record_id) if entry.parked else _key(answer)
            done[key] = max(version, done.get(key, version))
            if key in waiting and waiting[key].version <= version:
                del waiting[key]
    return list(waiting.values()), done


def _row(item: Item, waiting: Waiting) -> Parked:
    version = waiting.version or Version(item.received_at, 0)
    missing = waiting.missing
    return Parked(
        waiting.kind,
        waiting.record_id,
        missing.kind,
        missing.record_id,
        waiting.reason,
        version,
        item.raw,
        item.received_at,
    )


def _version_done(entry: _Entry, answer: Answer) -> Version | None:
    """Return up to which version a record need wait no longer; none where this says nothing of it."""
    if answer.status is Status.ERROR:
        return None
    if isinstance(entry.candidate, Valid) and entry.may_wait:
        return entry.candidate.records[-1].version
    return entry.parked.version if entry.parked else None


def _key(answer: Answer) -> Key:
    return answer.kind, answer.record_id or ""


def _following(
    origin: Origin, entries: Sequence[_Entry], answers: Sequence[Answer]
) -> Iterator[outbox.Event]:
    for entry, answer in zip(entries, answers, strict=True):
        if answer.status is not Status.UPDATED or not isinstance(entry.candidate, Valid):
            continue
        last = entry.candidate.records[-1]
        own = (origin.tenant, origin.source, last.kind, last.record_id)
        change = f"{last.version.time.isoformat()} {last.version.sequence}"
        for number, output in enumerate(entry.item.kind.follow(entry.candidate, answer)):
            about = outbox.encode(output.record)
            event_id = deterministic_id(output.topic.name, "follows", str(number), *own, change, about)
            yield outbox.Event(output, event_id, f"rosterhub/intake/{origin.source}")


def _frontier(entries: Sequence[_Entry], answers: Sequence[Answer]) -> set[Key]:
    """Return the records for which others may wait: those that changed, and those found missing here."""
    changed = (Status.NEW, Status.UPDATED)
    frontier: set[Key] = set()
    for entry, answer in zip(entries, answers, strict=True):
        if entry.waiting:
            frontier.add((entry.waiting.missing.kind, entry.waiting.missing.record_id))
        elif answer.status in changed and entry.item.kind.is_awaited:
            frontier.add(_key(answer))
    return frontier


def _wake(intake: Intake, origin: Origin, kinds: Kinds, keys: set[Key]) -> None:
    """Take what waits for those of ``keys`` that are there."""
    if not keys:
        return
    ordered = sorted(keys)
    with reading(intake.engine) as driver:
        waiting = parked.waiting_for(driver, origin, ordered)
    _take_parked(intake, origin, kinds, waiting)


def _take_parked(intake: Intake, origin: Origin, kinds: Kinds, waiting: Sequence[Parked]) -> int:
    for start in range(0, len(waiting), _CHUNK):
        chunk = [
            (Item(kinds[each.kind], each.content, each.received_at), each, False)
            for each in waiting[start : start + _CHUNK]
            if each.kind in kinds
        ]
        entries, answers = _read_and_take(intake, origin, chunk, nothing)
        if entries:
            _log.info("parked_records_taken", source=origin.source, count=len(entries))
            _wake(intake, origin, kinds, _frontier(entries, answers))
    return len(waiting)


def _waits_as_before(entry: _Entry) -> bool:
    before, now = entry.parked, entry.waiting
    return before is not None and now is not None and now.missing == (before.missing_kind, before.missing_id)
