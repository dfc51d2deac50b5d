"""`hub mapping`, `hub selection`: are the rules right, what do they make of a record, what do they change."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from infra.cli.endpoints import Demo, release, resolve
from infra.cli.parts import check_sites, mapping_of, tenant_of
from infra.cli.summary import tables
from infra.cli.systems import feed_of
from infra.errors import HubError
from infra.mapping import Mapping as Rules
from infra.mapping import RuleIdentity
from infra.memory import MemoryHub
from infra.settings import Settings
from infra.stage import Output
from processors.preview import compare
from processors.topology import topology
from producers.candidates import Candidate, Valid
from producers.elm.to_events import SOURCE as ELM
from producers.elm.to_events import to_candidate
from producers.linked import Ref, Waiting
from producers.sis import push
from producers.sis.records import SOURCE as SIS
from producers.sis.rules import Rules as SisRules
from producers.sis.to_events import kinds as sis_kinds
from producers.zoho.kinds import zoho_kinds
from producers.zoho.to_events import SOURCE as ZOHO
from producers.zoho.to_events import ZohoRules
from schemas.events import AccountPolicy, Enrolment, Operation, Person
from schemas.ids import MoodleCourseId, MoodleUserId, TenantId
from schemas.moodle import (
    Action,
    CommandKind,
    CourseObserved,
    MoodleCommand,
    MoodleObserved,
    MoodleResult,
    ObservedKind,
    Outcome,
)
from schemas.topics import Sites, sites

mapping = typer.Typer(help="The rules of what records mean in Moodle.", no_args_is_help=True)
selection = typer.Typer(help="Which records take part.", no_args_is_help=True)
_Tenant = Annotated[str | None, typer.Option(help="Whose rules; the default tenant's, if none is given.")]


_MADE_UP_USER, _MADE_UP_COURSE = MoodleUserId(0), MoodleCourseId(0)


class Source(StrEnum):
    """Sources whose records can be shown."""

    ELM = ELM
    ZOHO = ZOHO
    SIS = SIS


@mapping.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The file; else the one of MAPPING_FILE.")] = None,
) -> None:
    """Check a mapping file, and name the line of everything that is wrong in it."""
    settings = _with(file)
    rules = mapping_of(settings)
    check_sites(settings)
    typer.echo(f"right: rules for {len(rules.tenants)} tenant(s), sites {', '.join(rules.targets)}")


@mapping.command()
def preview(
    record: Annotated[Path, typer.Option(exists=True, help="JSON file with a record, or a list of them.")],
    source: Annotated[Source, typer.Option(help="Where the record comes from.")],
    kind: Annotated[str, typer.Option(help="Its kind: for zoho students …, for sis people …")] = "",
    tenant: _Tenant = None,
    file: Annotated[Path | None, typer.Option(help="Another mapping file than MAPPING_FILE.")] = None,
) -> None:
    """Show what a record becomes: the events, and what Moodle would be asked for. Nothing is stored or sent.

    What the record refers to is taken as known, under made-up ids; accounts and courses are taken as new.
    """
    settings = _with(file)
    rules, owner = mapping_of(settings), tenant_of(settings, tenant)
    raws = json.loads(record.read_text("utf-8"))
    shown = [
        _shown(_candidate(settings, rules, owner, source, kind, raw), rules)
        for raw in (raws if isinstance(raws, list) else [raws])
    ]
    typer.echo(json.dumps(shown if isinstance(raws, list) else shown[0], indent=2, ensure_ascii=False))


@selection.command("preview")
def preview_selection(
    file: Annotated[Path, typer.Argument(exists=True, help="The mapping file to be judged.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Count what the rules in FILE would change, against those in force and all that the hub knows."""
    settings = Settings()
    old, new = mapping_of(settings), mapping_of(_with(file))
    endpoints = resolve(settings, Demo())
    try:
        counts = compare(tables(endpoints.settings), old, new, datetime.now(UTC))
    finally:
        release(endpoints)
    if as_json:
        typer.echo(json.dumps(counts))
        return
    table = Table("what", "how many", title=f"With {file.name} in force")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)


def _with(file: Path | None) -> Settings:
    settings = Settings()
    return settings if file is None else settings.model_copy(update={"mapping_file": file})


class _Anything(Mapping[Ref, Mapping[str, Any]]):
    """Contents of records that are taken as known, whatever is asked for."""

    def __getitem__(self, ref: Ref) -> Mapping[str, Any]:
        made_up = f"{ref.kind}:{ref.record_id}"
        return {"id": ref.record_id, "person_id": made_up, "course_id": made_up}

    def __iter__(self) -> Iterator[Ref]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _candidate(
    settings: Settings, rules: Rules, tenant: TenantId, source: Source, kind: str, raw: object
) -> Candidate | Waiting:
    now = datetime.now(UTC)
    if source is Source.ELM:
        return to_candidate(raw, replace(feed_of(settings).rules(), tenant=tenant), now)
    identity = RuleIdentity(rules.of(tenant), source)
    if source is Source.ZOHO:
        named = zoho_kinds(ZohoRules(tenant, identity))
        _known(kind, named)
        return named[kind].parse(raw, _Anything(), now)
    _known(kind, push.KINDS)
    record = push.to_record(kind, raw, now)
    return sis_kinds(SisRules(tenant, identity))[record.kind].parse(record, _Anything(), now)


def _known(kind: str, kinds: Mapping[str, object]) -> None:
    if kind not in kinds:
        problem = f"there is no kind {kind}; there are {', '.join(kinds)}"
        raise HubError(problem)


def _shown(candidate: Candidate | Waiting, rules: Rules) -> dict[str, Any]:
    if not isinstance(candidate, Valid):
        return {"not_usable": msgspec.to_builtins(candidate)}
    events = [event for record in candidate.records for event in record.events]
    return {
        "events": [{event.topic.name: _plain(event.record)} for event in events],
        "moodle": [_plain(command) for command in _commands(events, rules)],
    }


def _commands(events: Sequence[Output], rules: Rules) -> list[MoodleCommand]:
    """Return what Moodle would be asked for; it answers at once, so that enrolments follow."""
    where = sites(rules.targets)
    hub = MemoryHub(topology(rules, where))
    enrolments = [event.record for event in events if isinstance(event.record, Enrolment)]
    _settle(hub, where, [_somebody(where, one) for one in enrolments])
    _settle(hub, where, [_some_course(where, rules, one) for one in enrolments])
    return _settle(hub, where, list(events))


def _settle(hub: MemoryHub, where: Sites, pending: list[Output]) -> list[MoodleCommand]:
    """Feed events, and the answers to the commands that they lead to; return these commands."""
    found: list[MoodleCommand] = []
    while pending:
        asked = [one.record for one in hub.feed(pending) if isinstance(one.record, MoodleCommand)]
        found += asked
        pending = [Output(where.of(one.target).results, _done(one)) for one in asked]
    return found


def _somebody(where: Sites, enrolment: Enrolment) -> Output:
    """Return the person of ``enrolment``, who is taken as known."""
    person = Person(
        tenant=enrolment.tenant,
        person_id=enrolment.person_id,
        operation=Operation.UPSERT,
        source_system=enrolment.source_system,
        source_record_id="",
        version_time=enrolment.version_time,
        version_sequence=0,
        recorded_at=enrolment.recorded_at,
        account_policy=AccountPolicy.ALWAYS,
    )
    return Output(where.shared.people, person)


def _some_course(where: Sites, rules: Rules, enrolment: Enrolment) -> Output:
    """Return the course of ``enrolment``, which is taken as known to Moodle."""
    target = rules.of(enrolment.tenant).target
    course = CourseObserved(
        course_id=enrolment.course_id,
        moodle_course_id=_MADE_UP_COURSE,
        short_name="",
        visible=True,
        completion_opt_in=False,
    )
    observed = MoodleObserved(
        tenant=enrolment.tenant,
        target=target,
        kind=ObservedKind.COURSE,
        observed_at=enrolment.recorded_at,
        course=course,
    )
    return Output(where.of(target).observed, observed)


def _done(command: MoodleCommand) -> MoodleResult:
    wish = command.user or command.course or command.enrolment
    return MoodleResult(
        command_id=command.command_id,
        tenant=command.tenant,
        target=command.target,
        kind=command.kind,
        generation=command.generation,
        outcome=Outcome.APPLIED,
        action=Action.CREATED if command.kind is not CommandKind.ENROLMENT else Action.ENROLLED,
        completed_at=command.issued_at,
        person_id=getattr(wish, "person_id", None),
        course_id=getattr(wish, "course_id", None),
        moodle_user_id=_MADE_UP_USER,
        moodle_course_id=_MADE_UP_COURSE,
    )


def _plain(record: Any) -> dict[str, Any]:
    plain = msgspec.to_builtins(record, enc_hook=str)
    return {name: value for name, value in plain.items() if value not in (None, {}, [])}
