"""`hub state`: what was wished of an entity at a moment by today's code and rules, and Moodle's answer."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from infra.cli.chronicle import Archive, Told
from infra.cli.history import Source, stored_at
from infra.cli.moments import moment_of
from infra.cli.operating import operating
from infra.cli.parts import kafka_of, mapping_of, registry_of, sites_of, tenant_of
from infra.cli.telling import PERSONAL, is_empty, line_of
from infra.codec import Codec
from infra.stage import Output
from processors.past import Past, Stood, as_of
from producers import entities
from producers.entities import Entity, NotFound, entity_of
from schemas.ids import CourseId, TenantId
from schemas.moodle import CommandKind, MoodleResult

_Section = tuple[str, dict[str, Any]]
_ANSWER: Final = (
    "kind",
    "course_id",
    "outcome",
    "action",
    "status",
    "reason",
    "moodle_user_id",
    "moodle_course_id",
)
_KNOWN: Final = (
    "moodle_user_id",
    "moodle_course_id",
    "missing",
    "blocked",
    "other_moodle_user_id",
    "is_out",
    "suspend",
)


def state(
    entity: Annotated[str, typer.Argument(help="person/ID, course/ID or enrolment/PERSON/COURSE.")],
    at: Annotated[str, typer.Option(help="The moment, such as 2026-11-21T10:00Z. [default: now]")] = "",
    tenant: Annotated[str | None, typer.Option(help="Whose. [default: DEFAULT_TENANT_ID]")] = None,
    full: Annotated[bool, typer.Option("--full", help="Tell personal data, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object of JSON.")] = False,
) -> None:
    """Tell how ENTITY stood: history up to the moment, folded by today's code and mapping file.

    Nothing is written anywhere. Exit status: 2 a wrong argument, or the hub knew no such entity then,
    4 Kafka, the registry, the database or the read model is away.
    """
    moment = moment_of("at", at) if at else datetime.now(UTC)
    with operating("state") as (settings, pool):
        asked = entity_of(tenant_of(settings, tenant), entity)
        kafka, codec, sites = kafka_of(settings), Codec(registry_of(settings)), sites_of(settings)
        rules = mapping_of(settings)
        source = Source(kafka, codec, sites, settings.topic_prefix, rules)
        messages = _history(Archive(pool, kafka, codec, sites), asked, moment)
        if not messages:
            problem = f"{asked}: the hub knew none of tenant {asked.tenant} at {moment:%Y-%m-%d %H:%M:%S}Z"
            raise NotFound(problem)
        history = [*_references(source, asked.tenant, moment), *_outputs(messages)]
        past = as_of(rules, sites, history, moment)
    sections = [*_told(past, asked), *_answers(messages, asked)]
    shown = [(name, fields if full else _hidden(fields)) for name, fields in sections]
    if as_json:
        typer.echo(msgspec.json.encode([{"what": name, **fields} for name, fields in shown]).decode())
        return
    for name, fields in shown:
        typer.echo(f"{name:18}  {line_of(fields) or '-'}")


def _history(archive: Archive, asked: Entity, moment: datetime) -> list[Told]:
    """Return all that decides on the entity: of an enrolment also what else the person has and the course."""
    if asked.kind is not CommandKind.ENROLMENT or asked.person_id is None or asked.course_id is None:
        return archive.about(asked, until=moment)
    person = archive.about(entities.person(asked.tenant, asked.person_id), until=moment)
    course = archive.about(entities.course(asked.tenant, asked.course_id), until=moment)
    once = {told.spot: told for told in (*person, *course)}
    return sorted(once.values(), key=lambda told: (told.at, told.spot.offset))


def _references(source: Source, tenant: TenantId, moment: datetime) -> Iterator[Output]:
    """Yield all terms and programs: courses refer to them, and there are few."""
    for topic in (source.topics.terms, source.topics.programs):
        for _, record in source.records(topic, lambda message: stored_at(message) <= moment):
            if record.tenant == tenant:
                yield Output(topic, record)


def _outputs(messages: Sequence[Told]) -> Iterator[Output]:
    return (Output(told.topic, told.record) for told in messages if told.record is not None)


def _told(past: Past, asked: Entity) -> Iterator[_Section]:
    if asked.person_id is not None:
        wish, account = past.account(asked.tenant, asked.person_id)
        yield "account wished", _plain(wish)
        yield "account known", _known(account)
        for course, stood in past.enrolments(asked.tenant, asked.person_id).items():
            if asked.course_id in (None, course):
                yield "enrolment wished", _enrolment(course, stood)
    if asked.course_id is not None:
        course_wish, known = past.course(asked.tenant, asked.course_id)
        yield "course wished", _plain(course_wish)
        yield "course known", _known(known)


def _enrolment(course: CourseId, stood: Stood) -> dict[str, Any]:
    wish = _plain(stood.issued) or {"status": stood.wished.wish.status, "role": stood.wished.wish.role}
    held = {"waits_for": stood.waits_for, "in_moodle": stood.entry.applied if stood.entry else None}
    return {"course_id": course, **wish, **{name: value for name, value in held.items() if value is not None}}


def _answers(messages: Sequence[Told], asked: Entity) -> Iterator[_Section]:
    """Yield Moodle's last answer about each account, course and enrolment up to then."""
    last: dict[tuple[CommandKind, str | None, str | None], Told] = {}
    for told in messages:
        if isinstance(told.record, MoodleResult):
            last[told.record.kind, told.record.person_id, told.record.course_id] = told
    for told in last.values():
        if not isinstance(told.record, MoodleResult):
            continue
        if told.record.kind is CommandKind.ENROLMENT and asked.course_id not in (None, told.record.course_id):
            continue
        answer = {name: getattr(told.record, name) for name in _ANSWER}
        shown = {name: value for name, value in answer.items() if value is not None}
        yield "last answer", {**shown, "at": f"{told.at:%Y-%m-%d %H:%M:%S}Z", "place": str(told.spot)}


def _known(entry: Any) -> dict[str, Any]:
    """Return what was known of Moodle; how often it was asked by today's code says nothing of then."""
    return {name: value for name, value in _plain(entry).items() if name in _KNOWN and value}


def _plain(entry: Any) -> dict[str, Any]:
    if entry is None:
        return {}
    if isinstance(entry, msgspec.Struct):
        entry = {name: getattr(entry, name) for name in entry.__struct_fields__}
    plain: Mapping[str, Any] = msgspec.to_builtins(entry)
    return {name: value for name, value in plain.items() if not is_empty(value)}


def _hidden(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "(hidden)" if name in PERSONAL else value for name, value in fields.items()}
