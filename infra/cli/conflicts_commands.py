"""`hub conflicts`: what a person has to decide, both sides of it, and the decision."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.asking import DryRun, Tenant, Why, age_of, before
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from infra.cli.printing import print_json, print_table
from infra.cli.sides import asking
from producers.decisions import command_line_user
from producers.entities import entity_of
from producers.held import Filter, conflict_of
from producers.held import conflicts as in_conflict
from producers.operations import judge, resolution_of, resolve_conflict, word_of
from producers.sides import Side, of_sources
from schemas.reasons import EXPLANATIONS, Reason

Named = Annotated[str, typer.Argument(help="As listed: person/ID or course/ID.")]


class Kind(StrEnum):
    """What can be in conflict."""

    USER = "user"
    COURSE = "course"


class State(StrEnum):
    """Which conflicts are listed."""

    OPEN = "open"
    IGNORED = "ignored"


conflicts = typer.Typer(help="What a person has to decide.", no_args_is_help=True)


@conflicts.command("list")
def list_(
    tenant: Tenant = None,
    what: Annotated[Kind | None, typer.Option(help="What is in conflict.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Why, such as EMAIL_TAKEN.", metavar="CODE")] = None,
    older_than: Annotated[str | None, typer.Option(help="Longer than this: 30m, 24h, 7d.")] = None,
    state: Annotated[State, typer.Option(help="Which.")] = State.OPEN,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the oldest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List what is in conflict, the oldest first, and how each can be settled."""
    longer_than = before("older-than", older_than)
    with operating("conflicts") as (settings, pool):
        chosen = Filter(
            tenant=tenant_of(settings, tenant),
            what=what.value.upper() if what else None,
            reason=reason,
            before=longer_than,
            state=state.value.upper(),
        )
        found = in_conflict(pool, chosen, limit)
    if as_json:
        print_json(found)
        return
    table = Table(
        "what", "reason", "account", "other account", "for", "can be settled by", box=None, pad_edge=False
    )
    for one in found:
        ids = (str(one.moodle_user_id or ""), str(one.other_moodle_user_id or ""))
        ways = ", ".join(map(word_of, one.admitted))
        table.add_row(str(one.entity), one.reason, *ids, age_of(one.since), ways)
    print_table(table)


@conflicts.command()
def show(
    entity: Named,
    tenant: Tenant = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show both sides: what the sources say, and what Moodle has now. Personal data is shown."""
    with operating("conflicts") as (settings, pool):
        conflict = conflict_of(pool, entity_of(tenant_of(settings, tenant), entity))
        ours = of_sources(pool, conflict)
        theirs = asking(settings)(conflict, ours)
    if as_json:
        print_json([{**asdict(conflict), "sources": ours, "moodle": theirs}])
        return
    typer.echo(f"{conflict.entity} of {conflict.tenant}: {conflict.reason} for {age_of(conflict.since)}")
    typer.echo(EXPLANATIONS[conflict.reason])
    _print(ours + theirs)
    typer.echo(f"can be settled by: {', '.join(map(word_of, conflict.admitted)) or 'its source alone'}")


@conflicts.command()
def resolve(
    entity: Named,
    resolution: Annotated[str, typer.Argument(help="take-over, update, keep or ignore.")],
    moodle_id: Annotated[
        int | None, typer.Option(min=1, help="Of take-over: Moodle's id of the account or course.")
    ] = None,
    tenant: Tenant = None,
    why: Why = "",
    dry_run: DryRun = False,
) -> None:
    """Settle a conflict: the decision holds until another takes its place.

    take-over links the account or course that Moodle has; update lets the source win; keep lets Moodle win;
    ignore takes it off the list until something changes.
    """
    how = resolution_of(resolution)
    with operating("conflicts") as (settings, pool):
        chosen = entity_of(tenant_of(settings, tenant), entity)
        if dry_run:
            conflict, linked = judge(pool, chosen, how, moodle_id)
            taken = f" {linked}" if linked else ""
            typer.echo(f"would settle {conflict.reason} of {chosen} by {word_of(how)}{taken}")
            return
        resolve_conflict(pool, chosen, how, by=command_line_user(), why=why, moodle_id=moodle_id)
    typer.echo(f"{chosen}: {word_of(how)}; `hub trace {chosen}` tells what comes of it")


def _print(sides: list[Side]) -> None:
    names = list(dict.fromkeys(name for side in sides for name in side.fields))
    table = Table("side", *names, box=None, pad_edge=False)
    for side in sides:
        table.add_row(side.name, *(str(side.fields.get(name, "")) for name in names))
    print_table(table)
