"""What people do about single entities: sync them, settle their conflicts, release what is parked.

For the command line and the HTTP application. What is asked for is checked against the read model; what is
decided becomes directives and audit entries, all of one call or none (`producers.decisions`). The stages obey
the directives within moments; nothing here waits for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from infra.errors import BadArgument
from producers.decisions import Act, decide, new_id
from producers.entities import Entity, NotFound, enrolment, person
from producers.held import Conflict, Parked, conflict_of, read_model
from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, TenantId
from schemas.moodle import CommandKind

_UNKNOWN: Final = """
    SELECT number FROM unnest(%(tenants)s::text[], %(people)s::text[], %(courses)s::text[])
        WITH ORDINALITY AS asked(tenant, person_id, course_id, number)
    WHERE NOT EXISTS ({known}) ORDER BY number LIMIT 1
"""
"""The number of the first of the given entities that the hub does not know."""
_CALLED_BACK: Final = """
    SELECT 1 FROM read_model.completed
    WHERE (tenant, person_id, course_id) = (%s, %s, %s) AND callback_id IS NOT NULL
"""
_KNOWN: Final = {
    CommandKind.USER: """
        SELECT 1 FROM read_model.people AS p
        WHERE (p.tenant, p.person_id) = (asked.tenant, asked.person_id)
    """,
    CommandKind.COURSE: """
        SELECT 1 FROM read_model.courses AS c
        WHERE (c.tenant, c.course_id) = (asked.tenant, asked.course_id)
        UNION ALL
        SELECT 1 FROM read_model.enrolments AS e
        WHERE (e.tenant, e.course_id) = (asked.tenant, asked.course_id)
    """,
    CommandKind.ENROLMENT: """
        SELECT 1 FROM read_model.enrolments AS e
        WHERE (e.tenant, e.person_id, e.course_id) = (asked.tenant, asked.person_id, asked.course_id)
    """,
}
_OWNER: Final = {
    CommandKind.USER: """
        SELECT person_id FROM (
            SELECT tenant, person_id, moodle_user_id FROM read_model.standing WHERE kind = 'USER'
            UNION ALL SELECT tenant, person_id, moodle_user_id FROM read_model.observed_users
        ) AS known
        WHERE tenant = %s AND moodle_user_id = %s AND person_id <> %s LIMIT 1
    """,
    CommandKind.COURSE: """
        SELECT course_id FROM read_model.observed_courses
        WHERE tenant = %s AND moodle_course_id = %s AND course_id <> %s LIMIT 1
    """,
}
"""Whose the account or course is that is to be taken over, if it is another one's."""


def sync(pool: Engine, entities: Sequence[Entity], *, by: str, why: str = "") -> int:
    """Have what is wished of ``entities`` now issued to Moodle once more, whatever was applied.

    An enrolment that waits for its account or course has that asked for anew, too.

    Args:
        pool: of the hub's database.
        entities: accounts, courses, enrolments.
        by: who asks; see `producers.decisions.Act`.
        why: in the person's words.

    Returns:
        The number of different entities.

    Raises:
        NotFound: the hub does not know one of them; nothing was done.
        RetryLater: the database is away, or there is no read model yet; nothing was done.
    """
    unique = list(dict.fromkeys(entities))
    check_known(pool, unique)
    acts = [Act(by, f"sync.{one.word}", str(one), one.tenant, why) for one in unique]
    decide(pool, acts, reassertions(unique, by, why))
    return len(unique)


def post_completion(
    pool: Engine, tenant: TenantId, person_id: str, course_id: str, *, by: str, why: str = ""
) -> None:
    """Have ELM told of a completion once more, whatever it said before.

    The account of the learner is asked for once more as well.

    Raises:
        NotFound: there is no such completion, or ELM was not told of it yet; nothing was done.
        RetryLater: the database is away, or there is no read model yet; nothing was done.
    """
    with read_model(pool) as connection:
        told = connection.execute(_CALLED_BACK, [tenant, person_id, course_id]).fetchone()
    place = enrolment(tenant, person_id, course_id)
    if told is None:
        msg = f"{place}: ELM was told of no completion of it"
        raise NotFound(msg)
    asked = _directive(DirectiveKind.REASSERT, person(tenant, person_id), by, why)
    act = Act(by, "completion.post", str(place), tenant, why)
    decide(pool, [act], [replace(asked, course_id=CourseId(course_id))])


def check_known(pool: Engine, entities: Sequence[Entity]) -> None:
    """See that the hub knows all ``entities``.

    Raises:
        NotFound: it does not know one of them.
        RetryLater: the database is away, or there is no read model yet.
    """
    for kind in CommandKind:
        of_kind = [one for one in entities if one.kind is kind]
        asked = {
            "tenants": [one.tenant for one in of_kind],
            "people": [one.person_id for one in of_kind],
            "courses": [one.course_id for one in of_kind],
        }
        with read_model(pool) as connection:
            unknown = connection.execute(_UNKNOWN.format(known=_KNOWN[kind]), asked).fetchone()
        if unknown is not None:
            one = of_kind[unknown[0] - 1]
            msg = f"{one}: the hub knows none of tenant {one.tenant}"
            raise NotFound(msg)


def release(pool: Engine, held: Iterable[Parked], *, by: str, why: str = "") -> int:
    """Have asked for anew what ``held`` wait for: once, however many wait for it.

    What only a source can tell of (a term, a program, a learner) is passed over.

    Returns:
        The number of accounts and courses asked for.

    Raises:
        RetryLater: the database is away; nothing was done.
    """
    needed = list(dict.fromkeys(one.needs for one in held if one.needs is not None))
    acts = [Act(by, "parked.release", str(one), one.tenant, why) for one in needed]
    decide(pool, acts, reassertions(needed, by, why))
    return len(needed)


def resolve_conflict(
    pool: Engine,
    entity: Entity,
    resolution: Resolution,
    *,
    by: str,
    why: str = "",
    moodle_id: int | None = None,
) -> Conflict:
    """Settle the conflict of ``entity``.

    Args:
        pool: of the hub's database.
        entity: whose conflict.
        resolution: how it is settled.
        by: who decides; see `producers.decisions.Act`.
        why: in the person's words.
        moodle_id: of TAKE_OVER: Moodle's id of the account or course; may be left out where the conflict
            names one other account.

    Returns:
        The conflict as it was.

    Raises:
        NotFound: the entity is in no conflict.
        BadArgument: such a conflict cannot be settled so, or not with this account or course.
        RetryLater: the database is away, or there is no read model yet; nothing was done.
    """
    conflict, linked = judge(pool, entity, resolution, moodle_id)
    details = {"resolution": resolution.value, "reason": conflict.reason.value}
    if linked is not None:
        details["moodle_id"] = str(linked)
    act = Act(by, "conflict.resolve", str(entity), entity.tenant, why, details)
    decide(pool, [act], [_resolution(entity, resolution, linked, by, why)])
    return conflict


def judge(
    pool: Engine, entity: Entity, resolution: Resolution, moodle_id: int | None = None
) -> tuple[Conflict, int | None]:
    """Return the conflict of ``entity`` and what would be taken over, if ``resolution`` can settle it.

    Raises:
        NotFound, BadArgument, RetryLater: as `resolve_conflict`.
    """
    conflict = conflict_of(pool, entity)
    if resolution not in conflict.admitted:
        admitted = ", ".join(map(word_of, conflict.admitted)) or "nothing but a change at its source"
        msg = f"resolution: {word_of(resolution)} does not settle {conflict.reason}; {admitted} can"
        raise BadArgument(msg)
    return conflict, _linked(pool, conflict, resolution, moodle_id)


def reassertions(entities: Iterable[Entity], by: str, why: str) -> list[Directive]:
    """Return the directives that have ``entities`` issued once more, for each enrolment its account first."""
    wanted: dict[Entity, None] = {}
    for one in entities:
        if one.kind is CommandKind.ENROLMENT and one.person_id is not None:
            wanted[person(one.tenant, one.person_id)] = None
        wanted[one] = None
    return [_directive(DirectiveKind.REASSERT, one, by, why) for one in wanted]


def word_of(resolution: Resolution) -> str:
    """Return how people write ``resolution``, such as ``take-over``."""
    return resolution.value.lower().replace("_", "-")


def resolution_of(word: str) -> Resolution:
    """Return the resolution that people write as ``word``.

    Raises:
        BadArgument: there is no such resolution.
    """
    found = next((one for one in Resolution if word_of(one) == word), None)
    if found is None:
        msg = f"resolution: {word!r} is none of {', '.join(map(word_of, Resolution))}"
        raise BadArgument(msg)
    return found


def _linked(pool: Engine, conflict: Conflict, resolution: Resolution, moodle_id: int | None) -> int | None:
    """Return the account or course that is to be taken over."""
    if resolution is not Resolution.TAKE_OVER:
        if moodle_id is not None:
            msg = f"moodle_id: {word_of(resolution)} takes none"
            raise BadArgument(msg)
        return None
    chosen = conflict.other_moodle_user_id if moodle_id is None else moodle_id
    if chosen is None:
        msg = f"moodle_id: name the {conflict.entity.word}'s id in Moodle that is to be taken over"
        raise BadArgument(msg)
    entity = conflict.entity
    place = (entity.tenant, chosen, entity.person_id or entity.course_id)
    with read_model(pool) as connection:
        owner = connection.execute(_OWNER[entity.kind], place).fetchone()
    if owner is not None:
        msg = f"moodle_id: {chosen} is that of {entity.word}/{owner[0]}; two cannot share it"
        raise BadArgument(msg)
    return int(chosen)


def _resolution(entity: Entity, resolution: Resolution, linked: int | None, by: str, why: str) -> Directive:
    made = _directive(DirectiveKind.RESOLVE, entity, by, why, resolution)
    if linked is None:
        return made
    if entity.kind is CommandKind.USER:
        return replace(made, moodle_user_id=MoodleUserId(linked))
    return replace(made, moodle_course_id=MoodleCourseId(linked))


def _directive(
    kind: DirectiveKind, entity: Entity, by: str, why: str, resolution: Resolution | None = None
) -> Directive:
    return Directive(
        directive_id=new_id(),
        tenant=entity.tenant,
        kind=kind,
        subject=entity.kind,
        issued_at=datetime.now(UTC),
        person_id=entity.person_id,
        course_id=entity.course_id,
        resolution=resolution,
        by=by,
        why=why,
    )
