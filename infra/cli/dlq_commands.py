"""`hub dlq`: the dead letters, and what people do about them."""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Final

import msgspec
import typer
from rich.table import Table

from infra.cli.asking import DryRun, Why, Yes, age_of, agree, before
from infra.cli.operating import operating
from infra.cli.parts import kafka_of, registry_of, sites_of, tenant_of
from infra.cli.printing import print_json, print_table
from infra.codec import Codec, UnreadableError
from infra.dead_letters import Choice, Found, State, count, find
from infra.dead_letters import show as read_letter
from infra.errors import BadArgument
from infra.fetch import spot_of
from infra.settings import Settings
from producers.decisions import command_line_user
from producers.redriving import Who, rehearse
from producers.redriving import discard as decide_discard
from producers.redriving import redrive as decide_redrive
from producers.remedies import Means, Remedy
from schemas.deadletters import DeadLetter, to_message
from schemas.reasons import EXPLANATIONS

_DONE: Final[Mapping[Remedy, str]] = {
    Remedy.AGAIN: "go back to their topics",
    Remedy.REASSERTED: "have what is wished now issued again",
    Remedy.OVERTAKEN: "are overtaken by something newer",
    Remedy.UNREADABLE: "stay open: this release cannot read them either",
    Remedy.GONE: "stay open: their messages are not kept any more",
    Remedy.FOREIGN: "stay open: their topics are none of this hub's",
    Remedy.DECIDED: "are decided about already",
}

Tenant = Annotated[str | None, typer.Option(help="Of this tenant.")]
Kind = Annotated[str | None, typer.Option(help="Of this kind, such as person or moodle.command.user.")]
Reason = Annotated[str | None, typer.Option(help="With this reason code, such as USER_DELETED.")]
Role = Annotated[str | None, typer.Option(help="Of this stage or sink, such as people or elm-sink.")]
Entity = Annotated[str | None, typer.Option(help="person/ID, course/ID or enrolment/PERSON/COURSE.")]
OlderThan = Annotated[str | None, typer.Option(help="Failed longer ago: 30m, 24h, 7d.")]
NewerThan = Annotated[str | None, typer.Option(help="Failed less long ago: 30m, 24h, 7d.")]
Places = Annotated[list[str] | None, typer.Option("--place", help="As listed; may be given several times.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many, the last that failed.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are open, without any filter.")]

dlq = typer.Typer(help="Dead letters: messages that nobody could act on.", no_args_is_help=True)


@dlq.command("list")
def list_(
    tenant: Tenant = None,
    kind: Kind = None,
    reason: Reason = None,
    role: Role = None,
    entity: Entity = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    place: Places = None,
    state: Annotated[State, typer.Option(case_sensitive=False, help="What was decided.")] = State.OPEN,
    limit: Limit = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List dead letters, the last that failed first, without their content."""
    choice = _choice(tenant, kind, reason, role, entity, older_than, newer_than, place, state)
    with operating("dlq") as (_, pool):
        found = find(pool, choice, limit)
        counts = {} if as_json else count(pool, choice)
    if as_json:
        print_json(found)
        return
    table = Table("place", "role", "kind", "entity", "reason", "attempt", "for", box=None, pad_edge=False)
    for one in found:
        what = (one.kind or "-", one.entity, one.reason, str(one.attempt), age_of(one.failed_at))
        table.add_row(one.place, one.role, *what)
    print_table(table)
    typer.echo(_counted(counts, state))


@dlq.command()
def show(
    place: Annotated[str, typer.Argument(help="As listed: topic/partition/offset.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the value, undecoded, in base64.")] = False,
) -> None:
    """Show one dead letter with its headers and content. Personal data is shown."""
    with operating("dlq") as (settings, _):
        letter = read_letter(kafka_of(settings), place)
        content = None if raw else _content(settings, letter)
    if content is None:
        typer.echo(b64encode(letter.message_value or b"").decode())
        return
    typer.echo(f"key: {letter.key}")
    for name, value in to_message(letter).headers:
        typer.echo(f"{name}: {(value or b'').decode('utf-8', 'replace')}")
    typer.echo(EXPLANATIONS[letter.reason])
    typer.echo(content)


@dlq.command()
def redrive(
    tenant: Tenant = None,
    kind: Kind = None,
    reason: Reason = None,
    role: Role = None,
    entity: Entity = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    place: Places = None,
    everything: Everything = False,
    limit: Limit = None,
    why: Why = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Have the chosen open dead letters done after all, in the light of today.

    Events go back to their topics, where an older version changes nothing. Commands are not repeated: what is
    wished now is issued again. Interrupted, run it again: it goes on.
    """
    choice = _choice(tenant, kind, reason, role, entity, older_than, newer_than, place, State.OPEN)
    _check_is_meant(choice, everything)
    with _deciding(choice, limit, why) as (means, found, who):
        if dry_run:
            _tell(rehearse(means, found))
        elif found:
            agree(f"redrive {len(found):,}?", yes=yes)
            _tell(decide_redrive(means, found, who, _report))


@dlq.command()
def discard(
    why: Annotated[str, typer.Option(help="Why, in your own words; kept in the audit.")],
    tenant: Tenant = None,
    kind: Kind = None,
    reason: Reason = None,
    role: Role = None,
    entity: Entity = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    place: Places = None,
    everything: Everything = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take the chosen open dead letters off the list. Their messages stay in their topic."""
    choice = _choice(tenant, kind, reason, role, entity, older_than, newer_than, place, State.OPEN)
    _check_is_meant(choice, everything)
    if not why.strip():
        raise BadArgument("why: say why")
    with _deciding(choice, limit, why) as (means, found, who):
        if found and not dry_run:
            agree(f"discard {len(found):,}?", yes=yes)
            typer.echo(f"{decide_discard(means, found, who, _report):,} discarded")


def _choice(
    tenant: str | None,
    kind: str | None,
    reason: str | None,
    role: str | None,
    entity: str | None,
    older_than: str | None,
    newer_than: str | None,
    places: list[str] | None,
    state: State,
) -> Choice:
    return Choice(
        tenant=tenant,
        kind=kind,
        reason=reason,
        role=role,
        entity=entity,
        failed_before=before("older-than", older_than),
        failed_after=before("newer-than", newer_than),
        places=tuple(str(spot_of(one)) for one in places) if places else None,
        state=state,
    )


def _check_is_meant(choice: Choice, everything: bool) -> None:
    if choice == Choice(state=State.OPEN) and not everything:
        raise BadArgument("filters: name at least one, or say --all")


@contextmanager
def _deciding(choice: Choice, limit: int | None, why: str) -> Iterator[tuple[Means, list[Found], Who]]:
    """Say how many are chosen; give what is needed to decide about them, the chosen, and who decides."""
    with operating("dlq") as (settings, pool):
        found = find(pool, choice, limit)
        typer.echo(_counted(Counter(one.reason for one in found), State.OPEN))
        means = Means(pool, kafka_of(settings), Codec(registry_of(settings)), sites_of(settings))
        yield means, found, Who(command_line_user(), why, tenant_of(settings))


def _counted(counts: Mapping[str, int], state: State) -> str:
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts.items())
    return f"{sum(counts.values()):,} {state.value.lower()}" + (f": {reasons}" if reasons else "")


def _tell(tally: Mapping[Remedy, int]) -> None:
    for remedy, number in tally.items():
        typer.echo(f"{number:,} {_DONE[remedy]}")


def _report(done: int) -> None:
    typer.echo(f"{done:,} done", err=True)


def _content(settings: Settings, letter: DeadLetter) -> str:
    """Return the message's value as text: decoded where that can be done."""
    if letter.left_out is not None:
        return f"the message of {letter.left_out:,} bytes is not in the letter, but at its own place"
    if letter.message_value is None:
        return "no value"
    topics = {topic.name: topic for topic in sites_of(settings).all()}
    if letter.topic not in topics:
        return f"{len(letter.message_value):,} bytes; see --raw"
    try:
        record = Codec(registry_of(settings)).decode(topics[letter.topic], letter.message_value)
    except UnreadableError as error:
        return f"{len(letter.message_value):,} bytes; see --raw: {error}"
    return msgspec.json.format(msgspec.json.encode(record)).decode()
