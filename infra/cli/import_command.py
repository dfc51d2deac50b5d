"""`hub import`: CSV files of a SIS into the hub."""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra import collector, logs
from infra.cli.claims import own_services, stop_services
from infra.cli.parts import database_of, mapping_of, tenant_of
from infra.db.migrate import migrate
from infra.embedded import services
from infra.mapping import Identity, RuleIdentity
from infra.settings import Settings
from producers.candidates import Origin, Status
from producers.sis.csv_mapping import Columns, load
from producers.sis.csv_package import CsvFile, package, plain_file
from producers.sis.importing import Importer, Rejected, Result
from producers.sis.records import SOURCE
from producers.sis.rules import Rules, usual_identity, zone
from producers.sis.taking import exclusive
from schemas.ids import TenantId

DONE, SOME_REJECTED = 0, 1
SHOWN: Final = 20
"""Rejected rows that are printed; the report holds all."""
REPORT: Final = "rejected.csv"
_BAD: Final = (Status.INVALID, Status.ERROR)


class Rejections:
    """Writes rows that were not taken into a CSV file, and keeps the first of them to be shown."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.first: list[Rejected] = []
        self.reasons: Counter[tuple[str, str]] = Counter()
        self._file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        self._writer = csv.writer(self._file)
        self._writer.writerow(Rejected._fields)

    def add(self, rejected: Rejected) -> None:
        """Note one."""
        self._writer.writerow([value if value is not None else "" for value in rejected])
        if rejected.status in _BAD:
            if len(self.first) < SHOWN:
                self.first.append(rejected)
        else:
            self.reasons[rejected.file, rejected.reason] += 1


def import_files(
    files: list[Path],
    *,
    database_url: str,
    tenant: TenantId,
    timezone: str,
    identity: Identity | None,
    mapping: Path | None,
    dry_run: bool,
    remove_absent: bool,
    report: Path,
    console: Console,
) -> int:
    """Import ``files`` and return the exit status: 0, or 1 when some rows were rejected.

    Args:
        files: OneRoster folders, archives or files; with ``mapping``, plain CSV files.
        database_url: where the intake keeps its tables; not touched by a dry run.
        tenant: whose SIS it is.
        timezone: in which days of the SIS begin.
        identity: makes the ids of people and courses; none: the default rule.
        mapping: says which column of plain files is which field.
        dry_run: only check.
        remove_absent: delete what bulk files no longer have.
        report: CSV file of the rows that were not taken.
        console: for progress and report.

    Raises:
        HubError: a file or the mapping cannot be used, or the database is away.
    """
    columns = load(mapping) if mapping else None
    rules = Rules(tenant, identity or usual_identity(), zone(timezone))
    with ExitStack() as stack:
        if not dry_run:
            migrate(database_url)
            stack.enter_context(exclusive(database_url, Origin(tenant, SOURCE)))
        rejections = Rejections(report, stack)
        bar = stack.enter_context(_bar(console))
        bars = _Bars(bar)
        result = Result()
        for path in files:
            importer = Importer(
                database_url,
                rules,
                report=rejections.add,
                progress=bars.show,
                dry_run=dry_run,
                remove_absent=remove_absent,
            )
            result = _merged(result, _one(importer, path, columns, bars))
    _tell(console, result, rejections, report, dry_run)
    return SOME_REJECTED if result.counts.invalid or result.counts.errors else DONE


def _one(importer: Importer, path: Path, columns: Columns | None, bars: "_Bars") -> Result:
    if columns is not None:
        file = plain_file(path)
        bars.add([file])
        return importer.plain(file, columns)
    with package(path) as files:
        bars.add(files)
        return importer.oneroster(files)


class _Bars:
    """One progress bar for each file."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[int, int] = {}

    def add(self, files: list[CsvFile]) -> None:
        for file in files:
            self._tasks[id(file)] = self._bar.add_task(file.name, total=file.size)

    def show(self, file: CsvFile, read: int) -> None:
        self._bar.update(self._tasks[id(file)], completed=read)  # type: ignore[arg-type]  # a TaskID is an int


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description:22}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _merged(one: Result, other: Result) -> Result:
    return Result(
        one.counts + other.counts,
        {**one.by_file, **other.by_file},
        one.removed + other.removed,
        {**one.not_compared, **other.not_compared},
        other.waiting,
    )


def _tell(console: Console, result: Result, rejections: Rejections, report: Path, dry_run: bool) -> None:
    if rejections.first:
        table = Table("file", "line", "field", "reason")
        for each in rejections.first:
            table.add_row(each.file, str(each.line), each.field, each.reason)
        console.print(table)
    for (file, reason), count in rejections.reasons.items():
        console.print(f"{file}: {count:,} rows skipped ({reason})")
    counts = result.counts
    bad = counts.invalid + counts.errors
    if dry_run:
        console.print(
            f"Checked {counts.seen:,} rows: {counts.new:,} usable, {counts.skipped:,} skipped, "
            f"{bad:,} rejected."
        )
    else:
        console.print(
            f"Read {counts.seen:,} rows: {counts.new:,} new, {counts.updated:,} updated, "
            f"{counts.unchanged:,} unchanged, {counts.skipped:,} skipped, {bad:,} rejected; "
            f"{result.removed:,} records removed, {result.waiting:,} waiting for others."
        )
    for name, reason in result.not_compared.items():
        console.print(f"{name}: nothing was removed, as {reason}.")
    if bad or counts.skipped:
        console.print(f"Rows that were not taken: {report}")


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="OneRoster CSV: zip, folder or single files. With --mapping: any CSV."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the rows; change nothing.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Whose SIS it is. Default: DEFAULT_TENANT_ID.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="TOML file: which column is which field of which model.")
    ] = None,
    remove_absent: Annotated[
        bool, typer.Option("--remove-absent", help="Delete records that a bulk file no longer has.")
    ] = False,
    timezone: Annotated[
        str | None, typer.Option(help="IANA zone in which days of the SIS begin. Default: SIS_TIMEZONE.")
    ] = None,
    report: Annotated[Path, typer.Option(help="CSV file of the rows that were not taken.")] = Path(REPORT),
) -> None:
    """Import CSV files of a SIS: OneRoster 1.1 and 1.2, or any columns with --mapping.

    Exit status: 0 all rows taken, 1 some rejected or a file unusable, 4 the database is away or another
    import runs. Imports can be repeated. --remove-absent deletes (suspends or unenrols, by policy) every
    record of the kinds in bulk files that these no longer have; importing the full file again brings it back.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role="import", slot="0")
    collector.calm()
    whose = tenant_of(settings, tenant)
    # A dry run reaches no database.
    with nullcontext("postgresql://") if dry_run else database(settings) as database_url:
        status = import_files(
            files,
            database_url=database_url,
            tenant=whose,
            timezone=timezone or settings.sis_timezone,
            identity=RuleIdentity(mapping_of(settings).of(whose), SOURCE),
            mapping=mapping,
            dry_run=dry_run,
            remove_absent=remove_absent,
            report=report,
            console=Console(stderr=True),
        )
    raise typer.Exit(status)


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Give the address of the database: what is set, else the embedded one, for as long as the block runs."""
    if settings.database_url:
        yield database_of(settings)
        return
    started = own_services(settings.data_dir)
    try:
        yield services.up(settings.data_dir, only=frozenset({services.POSTGRES})).database_url
    finally:
        if started:
            stop_services(settings.data_dir)
