"""`hub setup`: what `hub run` does before it starts its processes, for those who start them otherwise."""

import typer

from infra.cli.operating import operating
from infra.cli.parts import check_sites
from infra.cli.topics_commands import apply_topics


def setup() -> None:
    """Bring tables, topics and schemas up to date, and end. It can be repeated; it deletes nothing."""
    with operating("setup") as (settings, _):
        check_sites(settings)
        for difference in apply_topics(settings):
            typer.echo(f"mended   {difference.subject}: {difference.what}")
    typer.echo("database, topics and schemas are as they shall be")
