"""`hub parked`: what waits for an account, a course, a term, and what can be done about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.asking import DryRun, Tenant, Why, Yes, age_of, agree, before
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from infra.cli.printing import print_json, print_table
from infra.errors import BadArgument
from producers.decisions import command_line_user
from producers.entities import entity_of
from producers.held import Filter, Parked
from producers.held import parked as waiting
from producers.operations import release as ask_again
from schemas.ids import CourseId, PersonId
from schemas.reasons import EXPLANATIONS, Reason


class Kind(StrEnum):
    """What can wait."""

    ENROLMENT = "enrolment"
    COURSE = "course"
    COMPLETION = "completion"


class Need(StrEnum):
    """What can be waited for."""

    ACCOUNT = "account"
    COURSE = "course"
    TERM = "term"
    PROGRAM = "program"
    LEARNER = "learner or enrolment"


What = Annotated[Kind | None, typer.Option(help="What waits.")]
WaitsFor = Annotated[Need | None, typer.Option(help="What it waits for.")]
BecauseOf = Annotated[Reason | None, typer.Option(help="Why that is not there.", metavar="CODE")]
Person = Annotated[str | None, typer.Option(help="Id of a person.")]
Course = Annotated[str | None, typer.Option(help="Id of a course.")]
OlderThan = Annotated[str | None, typer.Option(help="Has waited longer than this: 30m, 24h, 7d.")]

parked = typer.Typer(
    help="What waits for something else, and goes on when that appears.", no_args_is_help=True
)


@parked.command("list")
def list_(
    tenant: Tenant = None,
    what: What = None,
    waits_for: WaitsFor = None,
    reason: BecauseOf = None,
    person: Person = None,
    course: Course = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the oldest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List what waits, what for, and how long; the longest waiting first."""
    chosen = _filter(what, waits_for, reason, person, course, older_than)
    with operating("parked") as (settings, pool):
        found = waiting(pool, replace(chosen, tenant=tenant_of(settings, tenant)), limit)
    if as_json:
        print_json(found)
    else:
        _print(found)


@parked.command()
def show(
    entity: Annotated[str, typer.Argument(help="person/ID, course/ID or enrolment/PERSON/COURSE.")],
    tenant: Tenant = None,
) -> None:
    """Show everything that waits for an account or course, or of a person or course, and why."""
    with operating("parked") as (settings, pool):
        chosen = entity_of(tenant_of(settings, tenant), entity)
        found = waiting(
            pool, Filter(tenant=chosen.tenant, person_id=chosen.person_id, course_id=chosen.course_id)
        )
    if not found:
        typer.echo(f"nothing of {chosen} waits")
        return
    _print(found)
    for reason in sorted({one.reason for one in found if one.reason is not None}):
        typer.echo(f"{reason}: {EXPLANATIONS[reason]}")


@parked.command()
def release(
    tenant: Tenant = None,
    what: What = None,
    waits_for: WaitsFor = None,
    reason: BecauseOf = None,
    person: Person = None,
    course: Course = None,
    older_than: OlderThan = None,
    everything: Annotated[bool, typer.Option("--all", help="All that waits, without any filter.")] = False,
    why: Why = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Have Moodle asked once more for the accounts and courses that are waited for.

    Nothing else is changed: what is still not there is waited for as before. What waits for a term, a
    program or a learner goes on when its source tells of that, and is passed over.
    """
    if not (everything or what or waits_for or reason or person or course or older_than):
        raise BadArgument("filters: name at least one, or say --all")
    chosen = _filter(what, waits_for, reason, person, course, older_than)
    with operating("parked") as (settings, pool):
        found = waiting(pool, replace(chosen, tenant=tenant_of(settings, tenant)))
        needed = {one.needs for one in found if one.needs is not None}
        passed_over = sum(one.needs is None for one in found)
        typer.echo(f"{len(found)} wait; {len(needed)} accounts and courses are to be asked for again")
        if passed_over:
            typer.echo(f"{passed_over} wait for their sources alone and are passed over")
        if dry_run or not needed:
            return
        agree(f"ask Moodle for {len(needed)} accounts and courses again?", yes=yes)
        count = ask_again(pool, found, by=command_line_user(), why=why)
    typer.echo(f"{count} will be asked for again")


def _filter(
    what: Kind | None,
    waits_for: Need | None,
    reason: Reason | None,
    person: str | None,
    course: str | None,
    older_than: str | None,
) -> Filter:
    return Filter(
        what=what,
        waits_for=waits_for,
        reason=reason,
        person_id=PersonId(person) if person else None,
        course_id=CourseId(course) if course else None,
        before=before("older-than", older_than),
    )


def _print(found: Sequence[Parked]) -> None:
    table = Table("what", "person", "course", "waits for", "reason", "for", box=None, pad_edge=False)
    for one in found:
        table.add_row(
            one.what,
            one.person_id or "",
            one.course_id or "",
            one.waits_for,
            one.reason or "",
            age_of(one.since),
        )
    print_table(table)
    counts = Counter(one.waits_for for one in found)
    typer.echo(", ".join(f"{count} for {name}" for name, count in counts.most_common()) or "nothing waits")
