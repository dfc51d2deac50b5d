"""The summary of a run: how many records came, what became of them, what is held and why."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from infra.cli.parts import database_of, kafka_of, registry_of, topics_of
from infra.cli.stages import changelog_of, stages_of
from infra.codec import Codec
from infra.db.connect import database_trouble, engine
from infra.db.tables import source_runs
from infra.scan import Onlooker, Place, scan
from infra.settings import Settings
from processors.parking import Held, Standing, standing
from schemas.elm import CallbackOutcome, CallbackResult
from schemas.moodle import Action, CommandKind, MoodleResult

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of one run, and how things stand at its end.

    Attributes:
        records_seen: feed records read in the run; the next five say what became of them.
        users_created: accounts made in the run.
        users_updated: accounts changed in the run.
        enrolments_active: enrolments that are now active in Moodle by the hub, from all runs.
        enrolments_suspended: the same, suspended.
        parked: enrolments and completions that wait now.
        conflicts: accounts and courses that wait for a person's decision now.
        rejected: records that were refused, as of now.
        completions_delivered: completions that reached ELM in the run.
        moodle_calls: requests to Moodle in the run.
        elapsed_seconds: from the start of the run.
    """

    records_seen: int
    records_new: int
    records_unchanged: int
    records_updated: int
    records_invalid: int
    records_skipped: int
    users_created: int
    users_updated: int
    enrolments_active: int
    enrolments_suspended: int
    parked: int
    conflicts: int
    rejected: int
    completions_delivered: int
    moodle_calls: int
    elapsed_seconds: float

    def as_dict(self) -> dict[str, int | float]:
        """Return the counts by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the topics and the runs stood when the run began."""

    offsets: Mapping[Place, int]
    last_run: int


def begin(settings: Settings) -> Start:
    """Note where topics and runs stand now; ``settings`` are resolved, topics and tables exist."""
    topics = topics_of(settings)
    with Onlooker(kafka_of(settings)) as onlooker:
        offsets = onlooker.ends([topics.results.name, topics.callback_results.name])
    return Start(offsets, _last_run(settings))


def tables(settings: Settings, names: Collection[str] | None = None) -> dict[str, dict[str, bytes]]:
    """Return the table of every stage, or of those named, by its name, folded from the changelogs."""
    kafka = kafka_of(settings)
    return {
        stage.name: _fold(kafka, changelog_of(settings, stage).name)
        for stage in stages_of(settings)
        if names is None or stage.name in names
    }


def summarise(
    settings: Settings, start: Start, moodle_calls: int, elapsed: float
) -> tuple[Summary, Standing]:
    """Return the summary of the run that began at ``start``, and how things stand."""
    records = _records(settings, start.last_run)
    results = _results(settings, start.offsets)
    stands = standing(tables(settings))
    summary = Summary(
        **records,
        users_created=results["created"],
        users_updated=results["updated"],
        enrolments_active=stands.active,
        enrolments_suspended=stands.suspended,
        parked=sum(held.waits_for is not None for held in stands.held),
        conflicts=sum(held.is_conflict for held in stands.held),
        rejected=sum(held.is_rejected for held in stands.held),
        completions_delivered=results["delivered"],
        moodle_calls=moodle_calls,
        elapsed_seconds=round(elapsed, 1),
    )
    return summary, stands


def show(summary: Summary, stands: Standing, console: Console) -> None:
    """Print the summary and what is held, the first of each kind."""
    table = Table(title="Summary", show_header=False)
    for name, value in summary.as_dict().items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    console.print(table)
    for title, chosen in (
        ("Parked", [held for held in stands.held if held.waits_for]),
        ("Conflicts", [held for held in stands.held if held.is_conflict]),
        ("Rejected", [held for held in stands.held if held.is_rejected]),
    ):
        if chosen:
            console.print(_held_table(title, chosen))


def _held_table(title: str, chosen: list[Held]) -> Table:
    more = f", the first {_SHOWN}" if len(chosen) > _SHOWN else ""
    table = Table("what", "person", "course", "waits for", "reason", title=f"{title}: {len(chosen)}{more}")
    for held in chosen[:_SHOWN]:
        table.add_row(
            held.what, held.person_id or "", held.course_id or "", held.waits_for or "", held.reason or ""
        )
    return table


def _fold(kafka: dict[str, str | int | float | bool], topic: str) -> dict[str, bytes]:
    entries: dict[str, bytes] = {}
    for message in scan(kafka, topic):
        key, value = (message.key() or b"").decode(), message.value()
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
    return entries


def _results(settings: Settings, offsets: Mapping[Place, int]) -> Counter[str]:
    topics, codec = topics_of(settings), Codec(registry_of(settings))
    kafka = kafka_of(settings)
    found: Counter[str] = Counter()
    for message in scan(kafka, topics.results.name, offsets):
        result = codec.decode(topics.results, message.value())
        if isinstance(result, MoodleResult) and result.kind is CommandKind.USER:
            found["created"] += result.action is Action.CREATED
            found["updated"] += result.action is Action.UPDATED
    for message in scan(kafka, topics.callback_results.name, offsets):
        answer = codec.decode(topics.callback_results, message.value())
        if isinstance(answer, CallbackResult):
            found["delivered"] += answer.outcome is not CallbackOutcome.REJECTED
    return found


def _last_run(settings: Settings) -> int:
    made = engine(database_of(settings), pool_size=1)
    try:
        with database_trouble(), made.connect() as connection:
            return int(connection.scalar(select(func.coalesce(func.max(source_runs.c.id), 0))) or 0)
    finally:
        made.dispose()


def _records(settings: Settings, last_run: int) -> dict[str, int]:
    names = ("seen", "new", "unchanged", "updated", "invalid", "skipped")
    counts = [func.coalesce(func.sum(source_runs.c[name]), 0).label(name) for name in names]
    made = engine(database_of(settings), pool_size=1)
    try:
        with database_trouble(), made.connect() as connection:
            row = connection.execute(select(*counts).where(source_runs.c.id > last_run)).one()
            return {f"records_{name}": int(value) for name, value in zip(names, row, strict=True)}
    finally:
        made.dispose()
