"""`hub trace`: everything that happened to an account, a course or an enrolment, in the order of time."""

from typing import Annotated

import msgspec
import typer

from infra.cli.chronicle import Archive
from infra.cli.operating import operating
from infra.cli.parts import kafka_of, registry_of, sites_of, tenant_of
from infra.cli.story import story_of
from infra.codec import Codec
from producers.entities import NotFound, entity_of


def trace(
    entity: Annotated[str, typer.Argument(help="person/ID, course/ID or enrolment/PERSON/COURSE.")],
    tenant: Annotated[str | None, typer.Option(help="Whose. [default: DEFAULT_TENANT_ID]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many messages.")] = 1_000,
    full: Annotated[bool, typer.Option("--full", help="Tell personal data, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a line of JSON.")] = False,
) -> None:
    """Tell the story of ENTITY: source records, events, what waits, commands, calls, results, decisions.

    Of each the time and the message's topic/partition/offset; of a message what is new against the one
    before. A person's story includes the enrolments. Exit status: 2 the hub knows no such entity, 4 Kafka,
    the registry, the database or the read model is away.
    """
    with operating("trace") as (settings, pool):
        asked = entity_of(tenant_of(settings, tenant), entity)
        archive = Archive(pool, kafka_of(settings), Codec(registry_of(settings)), sites_of(settings))
        messages = archive.about(asked, limit)
        lines = story_of(pool, asked, messages, full=full)
        if not lines:
            problem = f"{asked}: the hub knows none of tenant {asked.tenant}"
            raise NotFound(problem)
    for line in lines:
        typer.echo(msgspec.json.encode(line).decode() if as_json else str(line))
    if len(messages) == limit and not as_json:
        typer.echo(f"the newest {limit:,} messages; --limit gives more", err=True)
