"""`hub pull`: what Zoho's CRM and the SIS have, read by the hub."""

from typing import Annotated

import typer

from infra import logs
from infra.cli.import_command import database
from infra.cli.parts import mapping_of
from infra.cli.pull_sis import sis
from infra.cli.pull_zoho import pull_zoho
from infra.cli.systems import zoho_of
from infra.mapping import RuleIdentity
from infra.settings import Settings
from producers.zoho.to_events import SOURCE

pull = typer.Typer(help="Read a source now.", no_args_is_help=True)
pull.command("sis")(sis)


@pull.command()
def zoho(
    module: Annotated[
        list[str] | None, typer.Option(help="Module (BTEC_Students) or kind (students); several times.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Read what changed after this time, such as 2026-01-31T08:00:00Z.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything, wherever the cursors stand.")
    ] = False,
) -> None:
    """Pull students, programs, units, classes and what connects them from Zoho's CRM.

    Exit status: 0 done, 1 some records cannot be used or the CRM failed, 4 the database is away.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role="pull", slot="0")
    rules = mapping_of(settings)
    with database(settings) as database_url:
        status = pull_zoho(
            zoho_of(settings),
            database_url,
            lambda tenant: RuleIdentity(rules.of(tenant), SOURCE),
            modules=module or (),
            since=since,
            full=full,
        )
    raise typer.Exit(status)
