"""`hub cleanup`: old notes of what is over are taken away."""

from typing import Annotated

import typer

from infra.cli.asking import Why, Yes, agree
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from producers.cleanup import Ages, cleanup
from producers.decisions import Act, command_line_user, decide


def clean(
    api_logs_days: Annotated[
        int | None,
        typer.Option(min=1, help="Keep the log of calls for so long. Default: CLEANUP_API_LOGS_DAYS."),
    ] = None,
    failed_days: Annotated[
        int | None,
        typer.Option(min=1, help="Keep runs and what is solved for so long. Default: CLEANUP_FAILED_DAYS."),
    ] = None,
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Yes = False,
) -> None:
    """Delete calls, runs and solved invalid records that are old, of all tenants.

    What is open stays, and so does the newest run of each kind. It cannot be taken back; the topics keep
    what they hold, so a rebuild of the read model brings back calls that its topic still has.
    """
    _clean(api_logs_days, failed_days, why, dry_run=dry_run, yes=yes)


def moodle_cleanup(
    api_logs_days: Annotated[int, typer.Option(min=1)] = 30,
    failed_syncs_days: Annotated[int, typer.Option(min=1)] = 90,
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
) -> None:
    """Do as `hub cleanup` under its older name, with the older options and without a question."""
    _clean(api_logs_days, failed_syncs_days, "", dry_run=dry_run, yes=True)


def _clean(api_logs_days: int | None, failed_days: int | None, why: str, *, dry_run: bool, yes: bool) -> None:
    with operating("cleanup") as (settings, pool):
        ages = Ages(
            api_logs_days or settings.cleanup_api_logs_days, failed_days or settings.cleanup_failed_days
        )
        counts = cleanup(pool, ages, dry_run=True)
        for name, count in counts.items():
            typer.echo(f"{name.replace('_', ' ')}: {count:,}")
        total = sum(counts.values())
        if dry_run or not total:
            return
        agree(f"delete {total:,} rows?", yes=yes)
        done = cleanup(pool, ages)
        details = {name: str(count) for name, count in done.items()}
        who, tenant = command_line_user(), tenant_of(settings)
        decide(pool, [Act(who, "cleanup", "notes", tenant, why, details)])
    typer.echo(f"deleted {sum(done.values()):,}")
