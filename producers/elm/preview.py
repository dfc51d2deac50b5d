"""What a piece of ELM's feed would do, record by record, before it is taken in by hand.

A person names a learner, a course or a time. What is taken is read anew: it is what ELM has then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

import msgspec
from psycopg import Cursor

from infra.errors import BadArgument, RetryLater
from producers.candidates import Candidate, Invalid, Skipped, Valid
from producers.elm.client import ElmClient, FeedError
from producers.elm.query import query_string, wall_time
from producers.elm.settings import ElmFeedSettings
from producers.elm.to_events import to_candidate
from schemas.events import Enrolment, EnrolmentStatus, Person
from schemas.ids import CourseId, PersonId, TenantId
from schemas.reasons import Reason
from schemas.version import Version

MOST: Final = 200
"""Records of one preview."""
_AWAY_SECONDS: Final = 10.0
_MIX_UP: Final = frozenset({Reason.EMAIL_MISMATCH, Reason.EMAIL_TAKEN, Reason.USERNAME_TAKEN})


class Standing(StrEnum):
    """What a record would do."""

    DONE = "DONE"
    """Moodle is as the record wants it."""
    READY = "READY"
    NEW_USER = "NEW_USER"
    """Ready, and the learner gets an account."""
    BLOCKED = "BLOCKED"
    """Something is missing, in conflict or refused."""
    MISMATCH = "MISMATCH"
    """The account is perhaps another person's."""
    OLDER = "OLDER"
    """The hub has a newer record of this enrolment."""
    INVALID = "INVALID"
    """It cannot be read."""
    IGNORED = "IGNORED"
    """Its course is left out by the settings."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which records of the feed.

    Attributes:
        learner: a GUID or an e-mail address; empty: of all.
        course: ELM's number of a course, or its short name; empty: of all.
        since: created after then.
        until: created before then.
    """

    learner: str = ""
    course: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub knows about one enrolment and its person.

    Attributes:
        wanted: as in the snapshot of enrolments; none: not known.
        actual: what Moodle has.
        has_account: whether the person has an account.
        reason: why something does not go on; none: nothing stops it.
        waits_for: what it waits for; none: nothing.
        versions: of the records that are kept, by the enrolment's id at ELM.
    """

    wanted: str | None = None
    actual: str | None = None
    has_account: bool = False
    reason: str | None = None
    waits_for: str | None = None
    versions: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Previewed:
    """One record, and what it would do.

    Attributes:
        digest: of the record as it came; names it.
        candidate: what it means.
        standing: what it would do.
        reason: why it does not go on, or cannot be read.
        person_id: whose; none if it cannot be read.
        course_id: of which course.
        wish: what it wants.
        enrolment_id: ELM's.
        at: when ELM's state was set.
    """

    digest: str
    candidate: Candidate
    standing: Standing
    reason: str | None = None
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    wish: str | None = None
    enrolment_id: str | None = None
    at: datetime | None = None


Pair = tuple[PersonId, CourseId]
Knowing = Callable[[Sequence[Pair]], Mapping[Pair, Known]]
"""Tells what the hub knows about enrolments; those it knows nothing of may be left out."""


def options(choice: Choice, settings: ElmFeedSettings) -> dict[str, str]:
    """Return ``$filter`` and ``$orderby`` that ask the feed for ``choice``.

    Raises:
        BadArgument: nothing is chosen: the whole feed is for the poll.
    """
    rules = settings.rules()

    def name(field: str) -> str:
        return rules.names.get(field, field)

    parts = []
    if choice.learner:
        text = _quoted(choice.learner.strip())
        parts.append(f"({name('EMAIL')} eq {text} or {name('GUID')} eq {text})")
    if choice.course:
        course = choice.course.strip()
        is_number = course.isascii() and course.isdecimal()
        field = "COURSE_IDENTIFIER" if is_number else "COURSE_SHORTNAME"
        parts.append(f"{name(field)} eq {course if is_number else _quoted(course)}")
    if choice.since:
        parts.append(f"{name('date_created')} gt '{wall_time(choice.since, rules.zone)}'")
    if choice.until:
        parts.append(f"{name('date_created')} lt '{wall_time(choice.until, rules.zone)}'")
    if not parts:
        raise BadArgument("learner: name one, or a course, or a time")
    return {"$orderby": f"{name('date_created')} asc", "$filter": " and ".join(parts)}


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


async def read(choice: Choice, settings: ElmFeedSettings) -> list[Any]:
    """Return the records of ``choice`` as ELM has them now, `MOST` and one more at most.

    Raises:
        BadArgument: nothing is chosen.
        RetryLater: the feed gives no page.
    """
    query = query_string(options(choice, settings), MOST + 1, 0)
    try:
        async with ElmClient(settings) as feed:
            return (await feed.page(query)).records[: MOST + 1]
    except FeedError as error:
        raise RetryLater(str(error), error.retry_after or _AWAY_SECONDS) from None


def preview(records: Iterable[Any], settings: ElmFeedSettings, knowing: Knowing) -> list[Previewed]:
    """Return what each of ``records`` would do, in their order."""
    rules, now = settings.rules(), datetime.now(UTC)
    read_ = [(digest_of(raw), to_candidate(raw, rules, now)) for raw in records]
    pairs = sorted({pair for _, candidate in read_ if (pair := _pair(candidate))})
    known = knowing(pairs) if pairs else {}
    return [_previewed(digest, candidate, known) for digest, candidate in read_]


def digest_of(raw: Any) -> str:
    """Return the name of a record: a digest of all that it says."""
    return blake2b(msgspec.json.encode(raw, order="sorted"), digest_size=12).hexdigest()


def _pair(candidate: Candidate) -> Pair | None:
    if not isinstance(candidate, Valid):
        return None
    enrolment = _event(candidate, Enrolment)
    return enrolment.person_id, enrolment.course_id


def _event(candidate: Valid, kind: type[Any]) -> Any:
    return next(
        one.record for kept in candidate.records for one in kept.events if isinstance(one.record, kind)
    )


def _previewed(digest: str, candidate: Candidate, known: Mapping[Pair, Known]) -> Previewed:
    if isinstance(candidate, Invalid):
        reason = f"{candidate.field} {candidate.reason}"
        return Previewed(digest, candidate, Standing.INVALID, reason, enrolment_id=candidate.record_id)
    if isinstance(candidate, Skipped):
        return Previewed(
            digest, candidate, Standing.IGNORED, candidate.reason, enrolment_id=candidate.record_id
        )
    enrolment = _event(candidate, Enrolment)
    person: Person = _event(candidate, Person)
    found = known.get((person.person_id, enrolment.course_id), Known())
    kept = found.versions.get(candidate.records[-1].record_id)
    if kept is not None and candidate.records[-1].version < kept:
        standing, why = Standing.OLDER, None
    else:
        standing, why = standing_of(enrolment.status, found)
    return Previewed(
        digest,
        candidate,
        standing,
        why,
        person.person_id,
        enrolment.course_id,
        enrolment.status.value,
        str(enrolment.enrolment_id),
        enrolment.version_time,
    )


def standing_of(wish: EnrolmentStatus, known: Known) -> tuple[Standing, str | None]:
    """Return what a record would do that wants ``wish``, and why it does not go on."""
    if known.reason in _MIX_UP:
        return Standing.MISMATCH, known.reason
    if known.wanted == known.actual == wish.value:
        return Standing.DONE, None
    if known.reason is not None:
        return Standing.BLOCKED, known.reason
    if known.waits_for is not None and known.waits_for != "account":
        return Standing.BLOCKED, f"waits for {known.waits_for}"
    if not known.has_account and wish is EnrolmentStatus.ACTIVE:
        return Standing.NEW_USER, None
    return Standing.READY, None


_KNOWN: Final = """
    SELECT asked.person_id, asked.course_id, s.wanted, s.actual,
        a.moodle_user_id IS NOT NULL AS has_account,
        coalesce(a.blocked, s.reason) AS reason,
        (SELECT waits_for FROM read_model.parked p
            WHERE p.tenant = %(tenant)s AND p.person_id = asked.person_id
                AND p.course_id = asked.course_id LIMIT 1) AS waits_for,
        (SELECT jsonb_object_agg(r.record_id, jsonb_build_array(r.version_time, r.version_sequence))
            FROM source_records r JOIN read_model.enrolments e
                ON (e.tenant, e.source, e.source_record_id) = (r.tenant, r.source, r.record_id)
            WHERE (e.tenant, e.person_id, e.course_id) = (%(tenant)s, asked.person_id, asked.course_id)
                AND (r.source, r.kind) = ('elm', 'enrolment')) AS versions
    FROM unnest(%(people)s::text[], %(courses)s::text[]) AS asked (person_id, course_id)
    LEFT JOIN read_model.enrolment_snapshot s
        ON (s.tenant, s.person_id, s.course_id) = (%(tenant)s, asked.person_id, asked.course_id)
    LEFT JOIN read_model.accounts a ON (a.tenant, a.person_id) = (%(tenant)s, asked.person_id)
"""


def known_of(cursor: Cursor[dict[str, Any]], tenant: TenantId, pairs: Sequence[Pair]) -> dict[Pair, Known]:
    """Return what the read model knows about ``pairs``, by one query."""
    people, courses = [person for person, _ in pairs], [course for _, course in pairs]
    rows = cursor.execute(_KNOWN, {"tenant": tenant, "people": people, "courses": courses}).fetchall()
    return {(row["person_id"], row["course_id"]): _known(row) for row in rows}


def _known(row: Mapping[str, Any]) -> Known:
    versions = {
        number: Version(datetime.fromisoformat(time), sequence)
        for number, (time, sequence) in (row["versions"] or {}).items()
    }
    same = ("wanted", "actual", "has_account", "reason", "waits_for")
    return Known(**{name: row[name] for name in same}, versions=versions)
