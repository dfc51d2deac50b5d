"""The import of CSV files: read in batches that a few processes take, so memory stays flat at any size."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from infra.db.connect import database_trouble, engine, raw
from infra.errors import RetryLater
from producers import kept, runs
from producers.candidates import Answer, Candidate, Invalid, Skipped, Status, Tally, tally
from producers.intake import Intake
from producers.linked import Waiting
from producers.sis import oneroster, push
from producers.sis.csv_index import Index
from producers.sis.csv_mapping import Columns, PlainLayout
from producers.sis.csv_package import DELTA, CsvFile, PackageError, Row, Rows, rows
from producers.sis.csv_rows import ROLES, Layout
from producers.sis.import_worker import Address, Pool, Taken, batch_of, pool_of, settled, summary, take
from producers.sis.oneroster import RESOURCES
from producers.sis.records import ENROLMENT, PERSON, Record, RecordError, Refused
from producers.sis.rules import Rules
from producers.sis.taking import SisIntake
from producers.sis.to_events import parse, refs

T = TypeVar("T")

BATCH: Final = 1_000
WRITERS: Final = 2
SMALL: Final = 2_000_000
"""Bytes up to which an import takes less time than processes need to start."""
_AHEAD: Final = WRITERS + 1
"""Batches that are being taken or ready for it."""
_OF_ROLES: Final = ("role", "roles", "student_id", "org_id")
_TEACHING: Final = "%|teaching"
_KEPT: Final = """
    SELECT record_id FROM source_records
    WHERE tenant = %s AND source = %s AND kind = %s AND record_id > %s
        AND NOT content ? 'deleted' AND NOT (kind = %s AND record_id LIKE %s)
    ORDER BY record_id LIMIT %s
"""
_PARKED: Final = "SELECT count(*) FROM parked_records WHERE tenant = %s AND source = %s"


class Rejected(NamedTuple):
    """A row that was not taken: where it stands, whose it is, and why."""

    file: str
    line: int
    id: str | None
    status: Status
    field: str
    reason: str


@dataclass(slots=True)
class Result:
    """What became of the rows of one import.

    Attributes:
        counts: answers, over all files.
        by_file: rows that were read, by file.
        removed: records that were deleted because a bulk file no longer had them.
        not_compared: bulk files whose missing records were not deleted, and why.
        waiting: records of the tenant's SIS that wait for others, after the import.
    """

    counts: Tally = field(default_factory=Tally)
    by_file: dict[str, int] = field(default_factory=dict)
    removed: int = 0
    not_compared: dict[str, str] = field(default_factory=dict)
    waiting: int = 0


class _Batch(NamedTuple):
    """Rows that are taken together, each with the line it began in."""

    file: CsvFile
    lines: list[int]
    records: list[Record | Refused]
    received_at: datetime


Report = Callable[[Rejected], None]
Progress = Callable[[CsvFile, int], None]
"""Called with a file and the bytes of it that were read."""


class Importer:
    """Takes files in. Everything taken before a failure stays; to import again is harmless.

    Args:
        database_url: of the hub's database; a dry run does not reach it.
        rules: how records are read.
        report: called with every row that was not taken, in no particular order.
        progress: called after every batch.
        dry_run: only check the rows; the database is not touched.
        remove_absent: delete what a bulk file no longer has.
    """

    def __init__(
        self,
        database_url: str,
        rules: Rules,
        *,
        report: Report,
        progress: Progress,
        dry_run: bool = False,
        remove_absent: bool = False,
    ) -> None:
        self._engine = engine(database_url, pool_size=1)
        self._database_url = database_url
        self._rules = rules
        self._sis = SisIntake(Intake(self._engine), rules)
        self._report = report
        self._progress = progress
        self._dry_run = dry_run
        self._remove_absent = remove_absent and not dry_run
        self._result = Result()
        self._run_id = 0

    def oneroster(self, files: Sequence[CsvFile]) -> Result:
        """Import OneRoster files in the order given; see `producers.sis.csv_package.package`.

        Raises:
            PackageError: a file has no usable header.
            RetryLater: the database is away.
        """

        def work(pool: Pool | None) -> None:
            with Index() as index:
                for file in files:
                    if file.collection == ROLES:
                        self._read_roles(file, index)
                    else:
                        self._import(file, _oneroster_reader(file, index), index, pool)

        return self._in_a_run(sum(file.size for file in files), work)

    def plain(self, file: CsvFile, columns: Columns) -> Result:
        """Import a file whose columns are told by a mapping.

        Raises:
            PackageError: the file has no usable header.
            RetryLater: the database is away.
        """

        def work(pool: Pool | None) -> None:
            with Index() as index:
                self._import(file, _plain_reader(columns), index, pool)

        return self._in_a_run(file.size, work)

    def _in_a_run(self, size: int, work: Callable[[Pool | None], None]) -> Result:
        if self._dry_run:
            work(None)
            return self._result
        try:
            self._run_id = runs.begin(self._engine, self._sis.origin)
            try:
                self._sis.wake_all()
                if size < SMALL:
                    work(None)
                else:
                    with pool_of(WRITERS, Address(self._database_url, self._rules, self._run_id)) as pool:
                        work(pool)
                self._succeed()
            except BaseException as error:
                with suppress(RetryLater):
                    runs.fail(self._engine, self._run_id, type(error).__name__)
                raise
        finally:
            self._engine.dispose()
        return self._result

    def _succeed(self) -> None:
        origin = self._sis.origin
        with database_trouble(), self._engine.begin() as connection:
            runs.succeed(connection, self._run_id, None)
            counted = raw(connection).execute(_PARKED, [origin.tenant, origin.source]).fetchone()
            self._result.waiting = counted[0] if counted else 0

    def _read_roles(self, file: CsvFile, index: Index) -> None:
        """Remember the roles of users; rows without a user say nothing."""
        with rows(file) as lines:
            found = iter(lines)
            layout = Layout(_header(file, found))
            fitting = (layout.raw(row.cells) for row in found if len(row.cells) == layout.width)
            index.add_roles(fitting)
            self._progress(file, file.size)

    def _import(self, file: CsvFile, reader: "_Reader", index: Index, pool: Pool | None) -> None:
        has_all_ids, count = True, 0
        with rows(file, reader.encoding, reader.delimiter) as lines:
            under_way: deque[tuple[_Batch, Future[Taken]]] = deque()
            for batch in self._batches(file, lines, reader):
                ids = [record.id for record in batch.records if record.id is not None]
                has_all_ids = has_all_ids and len(ids) == len(batch.records)
                count += len(batch.records)
                if self._remove_absent:
                    index.see(reader.kind, ids)
                under_way.append((batch, self._begin(batch, pool)))
                while len(under_way) > _AHEAD:
                    self._settle(*under_way.popleft())
                self._progress(file, lines.position)
            while under_way:
                self._settle(*under_way.popleft())
        self._progress(file, file.size)
        if self._remove_absent and file.mode != DELTA:
            if not count:
                self._result.not_compared[file.name] = "it has no rows"
            elif has_all_ids:
                self._remove(reader.kind, index)
            else:
                self._result.not_compared[file.name] = "a row without readable id may be any record"

    def _begin(self, batch: _Batch, pool: Pool | None) -> Future[Taken]:
        if pool is not None:
            return pool.submit(batch_of(batch.records, batch.received_at))
        done: Future[Taken] = Future()
        if not self._dry_run:
            whole = batch_of(batch.records, batch.received_at)
            done.set_result(settled(take(self._sis, whole, self._run_id)))
            return done
        done.set_result(summary([_checked(each, batch.received_at, self._rules) for each in batch.records]))
        return done

    def _batches(self, file: CsvFile, lines: Rows, reader: "_Reader") -> Iterator[_Batch]:
        found = iter(lines)
        read = reader.start(_header(file, found), file)
        batch: list[Row] = []
        for row in found:
            batch.append(row)
            if len(batch) == BATCH:
                yield self._batch(file, batch, read)
                batch = []
        if batch:
            yield self._batch(file, batch, read)

    def _batch(self, file: CsvFile, batch: Sequence[Row], read: "_Read") -> _Batch:
        received_at = datetime.now(UTC)
        records = read(batch, received_at)
        if file.mode == DELTA and file.collection == "users" and not self._dry_run:
            records = self._with_known_roles(records)
        self._result.by_file[file.name] = self._result.by_file.get(file.name, 0) + len(batch)
        return _Batch(file, [row.line for row in batch], records, received_at)

    def _with_known_roles(self, records: Sequence[Record | Refused]) -> list[Record | Refused]:
        """Keep the roles of changed users of whom a delta brought none."""
        lacking = [
            (PERSON, each.id) for each in records if isinstance(each, Record) and "role" not in each.fields
        ]
        with database_trouble(), self._engine.connect() as connection:
            states = kept.read(raw(connection), self._sis.origin, lacking, with_content=True)
        return [_with_roles(each, states) for each in records]

    def _settle(self, batch: _Batch, done: Future[Taken]) -> None:
        taken = done.result()
        self._result.counts += taken.tally
        for place, answer in taken.left_out:
            rejected = Rejected(
                batch.file.name,
                batch.lines[place],
                answer.record_id,
                answer.status,
                answer.field or "",
                answer.reason or "",
            )
            self._report(rejected)

    def _remove(self, kind: str, index: Index) -> None:
        """Delete what is kept of ``kind`` and was not in the file."""
        origin, last = self._sis.origin, ""
        while True:
            with database_trouble(), self._engine.connect() as connection:
                arguments = [origin.tenant, origin.source, kind, last, ENROLMENT, _TEACHING, BATCH]
                ids = [row[0] for row in raw(connection).execute(_KEPT, arguments).fetchall()]
            if not ids:
                return
            now = datetime.now(UTC)
            gone = [Record(kind=kind, id=name, time=now, deleted=True) for name in index.unseen(kind, ids)]
            if gone:
                self._result.removed += tally(self._sis.take(gone, now)).updated
            last = ids[-1]


_Read = Callable[[Sequence[Row], datetime], list[Record | Refused]]
"""Returns the records of some rows, received at a time."""


class _Reader(NamedTuple):
    """How a file is read: ``start`` takes its header."""

    kind: str
    start: Callable[[list[str], CsvFile], _Read]
    encoding: str | None = None
    delimiter: str = ","


def _oneroster_reader(file: CsvFile, index: Index) -> _Reader:
    kind = RESOURCES[file.collection]

    def start(header: list[str], file: CsvFile) -> _Read:
        layout = _layout(file, lambda: Layout(header))
        has_roles = file.collection == "users" and not layout.tells_roles

        def read(batch: Sequence[Row], received_at: datetime) -> list[Record | Refused]:
            raws = [None if _fault(row, layout.width) else layout.raw(row.cells) for row in batch]
            if has_roles:
                index.with_roles([found for found in raws if found is not None])
            return [
                _refused(kind, row, layout.width)
                if found is None
                else oneroster.to_record(kind, found, received_at)
                for row, found in zip(batch, raws, strict=True)
            ]

        return read

    return _Reader(kind, start)


def _plain_reader(columns: Columns) -> _Reader:
    kind = push.KINDS[columns.model]

    def start(header: list[str], file: CsvFile) -> _Read:
        layout = _layout(file, lambda: PlainLayout(header, columns))

        def read_one(row: Row, received_at: datetime) -> Record | Refused:
            if _fault(row, layout.width):
                return _refused(kind, row, layout.width)
            try:
                found = layout.raw(row.cells)
            except RecordError as error:
                return Refused(kind=kind, id=None, field=error.field, reason=error.reason, content=row.cells)
            return push.to_record(columns.model, found, received_at, lax=True)

        return lambda batch, received_at: [read_one(row, received_at) for row in batch]

    return _Reader(kind, start, columns.encoding, columns.delimiter)


def _layout(file: CsvFile, make: Callable[[], T]) -> T:
    try:
        return make()
    except RecordError as error:
        msg = f"{file.name}: {error}"
        raise PackageError(msg) from None


def _header(file: CsvFile, found: Iterator[Row]) -> list[str]:
    first = next(found, None)
    if first is None or first.fault:
        msg = f"{file.name} has no header"
        raise PackageError(msg)
    return first.cells


def _fault(row: Row, width: int) -> str | None:
    if row.fault is None and len(row.cells) != width:
        return f"has {len(row.cells)} cells where the header has {width}"
    return row.fault


def _refused(kind: str, row: Row, width: int) -> Refused:
    return Refused(kind=kind, id=None, field="row", reason=_fault(row, width) or "", content=row.cells)


def _with_roles(record: Record | Refused, states: Mapping[kept.Key, Any]) -> Record | Refused:
    state = states.get((PERSON, record.id or ""))
    if state is None or isinstance(record, Refused) or "role" in record.fields:
        return record
    content = msgspec.json.decode(state.content)
    known = {name: content[name] for name in _OF_ROLES if name in content}
    return msgspec.structs.replace(record, fields={**known, **record.fields})


def _checked(record: Record | Refused, received_at: datetime, rules: Rules) -> Answer:
    """Answer a row of a dry run, as if whatever it refers to were there."""
    known = {ref: {"person_id": "-", "course_id": "-"} for ref in refs(record)}
    found: Candidate | Waiting = parse(record, known, received_at, rules)
    if isinstance(found, Invalid):
        return Answer(found.kind, found.record_id, Status.INVALID, field=found.field, reason=found.reason)
    if isinstance(found, Skipped):
        return Answer(found.kind, found.record_id, Status.SKIPPED, reason=found.reason)
    return Answer(record.kind, record.id, Status.NEW)
