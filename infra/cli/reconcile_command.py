"""`hub reconcile`: what Moodle shows against what it was asked for, and asking once more for what differs."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.table import Table

from infra import collector
from infra.cli.operating import operating
from infra.cli.printing import print_table
from infra.cli.reconciling import MOST, Report, fix, most_changes, reconcile
from infra.cli.surveys import noted, where
from infra.errors import BadArgument
from processors.comparison import Kind
from processors.drift import Drift
from producers.decisions import command_line_user

SHOWN: Final = 20
"""Differences that are printed; ``--json`` and ``--csv`` give all."""
COLUMNS: Final = (
    "kind", "subject", "person_id", "course_id", "fields", "moodle_user_id", "moodle_course_id", "fixable"
)  # fmt: skip


def as_row(drift: Drift) -> dict[str, Any]:
    """Return a difference by the names of `COLUMNS`; it holds ids, and no value of any field."""
    values = (
        drift.kind.value,
        drift.subject.value,
        drift.person_id,
        drift.course_id,
        ",".join(drift.fields),
        drift.moodle_user_id,
        drift.moodle_course_id,
        drift.is_fixable,
    )
    return dict(zip(COLUMNS, values, strict=True))


def run(
    kinds: Sequence[Kind],
    *,
    tenant: str | None = None,
    site: str | None = None,
    fixing: bool = False,
    most: str = MOST,
    with_others: bool = False,
    why: str = "",
    as_json: bool = False,
    file: Path | None = None,
) -> None:
    """Reconcile as `hub reconcile` does, and tell; the arguments are its options."""
    most_changes(most, 0)  # wrong arguments are told before anything is read
    if file is not None:
        _check_writable(file)
    collector.calm()
    with operating("reconcile") as (settings, pool):
        place = where(settings, tenant, site)
        with noted(place, "reconcile") as note:
            report = reconcile(place, pool, kinds, with_others=with_others, on_call=note)
        if file is not None:
            _write(file, report)
        if not as_json:
            _tell(report)
        fixed = fix(report, pool, most=most, by=command_line_user(), why=why) if fixing else None
    if as_json:
        typer.echo(msgspec.json.encode(_as_object(report, fixed)).decode())
    elif fixed is not None:
        typer.echo(f"{fixed:,} asked for once more: `hub reconcile` shows in a moment what came of it")


def _as_object(report: Report, fixed: int | None) -> dict[str, Any]:
    comparison = report.comparison
    return {
        "tenant": report.tenant,
        "target": report.target,
        "compared": {kind.value: count for kind, count in comparison.compared.items()},
        "in_flight": comparison.in_flight,
        "held": report.held,
        "unread": comparison.unread,
        "calls": report.calls,
        "seconds": report.seconds,
        "fixed": fixed,
        "drifts": [as_row(one) for one in comparison.drifts],
    }


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        msg = f"--csv: {path} cannot be written: {error.strerror}"
        raise BadArgument(msg) from None


def _write(path: Path, report: Report) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(as_row(one) for one in report.comparison.drifts)


def _tell(report: Report) -> None:
    comparison, drifts = report.comparison, report.comparison.drifts
    compared = ", ".join(f"{count:,} {kind.value}" for kind, count in comparison.compared.items())
    typer.echo(f"compared {compared} at {report.target} ({report.calls} calls, {report.seconds:.1f} s)")
    typer.echo(
        f"left out: {comparison.in_flight:,} on their way, {report.held:,} parked, disputed or refused"
    )
    if comparison.unread:
        typer.echo(f"not read: {comparison.unread:,} enrolments of courses that Moodle does not have")
    if not drifts:
        typer.echo("nothing differs")
        return
    for (subject, kind), count in sorted(Counter((one.subject, one.kind) for one in drifts).items()):
        typer.echo(f"{subject.value.lower():10} {kind.value:20} {count:,}")
    table = Table(*(name.replace("_", " ") for name in COLUMNS), box=None, pad_edge=False)
    for drift in drifts[:SHOWN]:
        table.add_row(*("" if value is None else str(value) for value in as_row(drift).values()))
    print_table(table)
    if len(drifts) > SHOWN:
        typer.echo(f"and {len(drifts) - SHOWN:,} more: see --json or --csv")


Tenant = Annotated[str | None, typer.Option(help="Whose people and courses. Default: DEFAULT_TENANT_ID.")]
AtSite = Annotated[str | None, typer.Option("--site", help="Moodle site, in place of a tenant.")]


def reconcile_(
    tenant: Tenant = None,
    site: AtSite = None,
    target: Annotated[
        list[Kind] | None, typer.Option(help="What to compare; may be given several times. Default: all.")
    ] = None,
    fixing: Annotated[
        bool, typer.Option("--fix", help="Ask Moodle once more for what differs, by ordinary commands.")
    ] = False,
    max_changes: Annotated[
        str, typer.Option(help="With --fix: change nothing if it were more; a number or a percentage.")
    ] = MOST,
    everybody: Annotated[
        bool, typer.Option("--all", help="Show members of courses too whom the hub has not enrolled.")
    ] = False,
    why: Annotated[str, typer.Option(help="With --fix: the reason, for the audit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    file: Annotated[Path | None, typer.Option("--csv", help="Write all differences to this file.")] = None,
) -> None:
    """Compare Moodle with what the hub asked it for; with --fix, ask once more for what differs.

    Without --fix nothing is changed. Enrolments that the hub did not make are left alone. Exit status: 0
    done, whether something differs or not, 3 more would be changed than is allowed, 4 a service is away.
    """
    run(
        target or list(Kind),
        tenant=tenant,
        site=site,
        fixing=fixing,
        most=max_changes,
        with_others=everybody,
        why=why,
        as_json=as_json,
        file=file,
    )


_Dry = Annotated[bool, typer.Option("--dry-run", help="Only show what differs.")]
_Most = Annotated[str, typer.Option(help="Change nothing if it were more; a number or a percentage.")]
_Why = Annotated[str, typer.Option(help="The reason, for the audit.")]


def sync_users(
    tenant: Tenant = None, dry_run: _Dry = False, max_changes: _Most = MOST, why: _Why = ""
) -> None:
    """Bring the accounts in Moodle to what was asked for, as `hub reconcile --target users --fix` does."""
    run([Kind.USERS], tenant=tenant, fixing=not dry_run, most=max_changes, why=why)


def sync_courses(
    tenant: Tenant = None, dry_run: _Dry = False, max_changes: _Most = MOST, why: _Why = ""
) -> None:
    """Bring the courses in Moodle to what was asked for, as `hub reconcile --target courses --fix` does."""
    run([Kind.COURSES], tenant=tenant, fixing=not dry_run, most=max_changes, why=why)
