"""Schedules: when what is done again and again is done, kept in the database, changed by people.

What nobody has changed follows the settings. Every change and every "run now" leaves an entry in the audit,
and wakes whoever waits for a turn. All times are those of the database's clock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.connect import database_trouble
from infra.db.tables import schedules as table
from infra.errors import BadArgument
from infra.turns import ASKED, NEVER, Work
from producers.decisions import Act, note
from producers.timing import Timing, checked, first_open, next_run
from schemas.ids import TenantId

CHANNEL: Final = "rosterhub_schedules"
"""PostgreSQL notification channel on which those who wait for a turn are woken."""


class Key(NamedTuple):
    """Names a schedule.

    Attributes:
        tenant: whose.
        target: what is done.
        site: the Moodle site; empty where the target is of none.
    """

    tenant: TenantId
    target: Work
    site: str = ""

    @property
    def subject(self) -> str:
        """How the audit names it."""
        return f"schedule/{self.target}"


class Default(NamedTuple):
    """A schedule as the settings have it."""

    key: Key
    timing: Timing
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule.

    Attributes:
        key: its name.
        enabled: whether it comes by itself; it can be asked for all the same.
        timing: when.
        next_run_at: its next time (UTC), or one that has passed and is made up for once; none: never.
        requested_at: since when somebody wants it now.
        requested_by: who.
        updated_at: when a person last changed it; none: it follows the settings.
        updated_by: who.
        seen_at: when this was so, by the database's clock.
    """

    key: Key
    enabled: bool
    timing: Timing
    next_run_at: datetime | None
    requested_at: datetime | None
    requested_by: str | None
    updated_at: datetime | None
    updated_by: str | None
    seen_at: datetime

    @property
    def due_at(self) -> datetime | None:
        """When it is done next by itself; none if never as things stand."""
        if not self.enabled or self.next_run_at is None:
            return None
        return first_open(self.timing, max(self.next_run_at, self.seen_at))

    @property
    def seconds_left(self) -> float:
        """Seconds to the next turn; see `infra.turns.Turns.seconds_to`."""
        if self.requested_at is not None:
            return ASKED
        due = self.due_at
        return NEVER if due is None else (due - self.seen_at).total_seconds()


def register(pool: Engine, defaults: Sequence[Default], *, follow: bool = True) -> None:
    """Make the schedules that are not there yet.

    Args:
        pool: of the hub's database.
        defaults: as the settings have them.
        follow: also bring those up to date that no person has changed.

    Raises:
        RetryLater: the database is away.
    """
    rows = [_default_row(default) for default in sorted(defaults)]
    names = ("enabled", "every_seconds", "cron", "zone")
    new = insert(table).values(rows)
    differs = or_(*(table.c[name].is_distinct_from(new.excluded[name]) for name in names))
    values = {name: new.excluded[name] for name in (*names, "next_run_at")}
    key = ["tenant", "target", "site"]
    following = new.on_conflict_do_update(
        index_elements=key, set_=values, where=and_(table.c.updated_at.is_(None), differs)
    )
    with database_trouble(), pool.begin() as connection:
        connection.execute(following if follow else new.on_conflict_do_nothing(index_elements=key))
        ring(connection)


def list_(pool: Engine, tenant: TenantId | None = None) -> list[Schedule]:
    """Return the schedules of ``tenant``, or all, by tenant, target and site.

    Raises:
        RetryLater: the database is away.
    """
    where = () if tenant is None else (table.c.tenant == tenant,)
    with database_trouble(), pool.connect() as connection:
        return _read(connection, *where)


def get(pool: Engine, key: Key) -> Schedule:
    """Return one schedule.

    Raises:
        BadArgument: there is none of that name.
        RetryLater: the database is away.
    """
    with database_trouble(), pool.connect() as connection:
        return _one(connection, key)


def upcoming(pool: Engine, keys: Collection[Key] | None = None) -> list[Schedule]:
    """Return all schedules, or those of ``keys``, for waiting on them.

    A next time that lies farther ahead than it can was made by a clock that has been put back: it is mended.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        found = [one for one in _read(connection) if keys is None or one.key in keys]
        return [_mended(connection, one) for one in found]


def change(
    pool: Engine,
    key: Key,
    *,
    by: str,
    why: str = "",
    timing: Timing | None = None,
    enabled: bool | None = None,
) -> Schedule:
    """Change a schedule; its next time is counted from now on. Return it as it is then.

    Args:
        pool: of the hub's database.
        key: which.
        by: who; see `producers.decisions.Act`.
        why: in the person's words.
        timing: when it shall be done; none: as before.
        enabled: whether it comes by itself; none: as before.

    Raises:
        BadArgument: there is no such schedule, or the timing cannot be used; nothing was changed.
        RetryLater: the database is away; nothing was changed.
    """
    with database_trouble(), pool.begin() as connection:
        old = _one(connection, key, lock=True)
        timing = old.timing if timing is None else checked(timing)
        new = replace(old, timing=timing, enabled=old.enabled if enabled is None else enabled)
        values = {
            **_timing_row(timing),
            "enabled": new.enabled,
            "next_run_at": next_run(timing, old.seen_at),
            "updated_at": func.now(),
            "updated_by": by,
        }
        connection.execute(update(table).where(_is(key)).values(values))
        details = {"site": key.site, "before": told(old), "after": told(new)}
        note(connection, [Act(by, "schedule.change", key.subject, key.tenant, why, details)])
        ring(connection)
        return _one(connection, key)


def request_run(pool: Engine, key: Key, *, by: str, why: str = "") -> Schedule:
    """Have it done now, whether enabled or not and whatever the hours; once, if it is already asked for.

    Raises:
        BadArgument: there is no such schedule.
        RetryLater: the database is away; nothing was asked for.
    """
    with database_trouble(), pool.begin() as connection:
        _one(connection, key, lock=True)
        asked = func.coalesce(table.c.requested_at, func.now())
        connection.execute(update(table).where(_is(key)).values(requested_at=asked, requested_by=by))
        note(connection, [Act(by, "schedule.run", key.subject, key.tenant, why, {"site": key.site})])
        ring(connection)
        return _one(connection, key)


def settle(connection: Connection, key: Key, started_at: datetime, *, move: bool) -> None:
    """Note that what was begun at ``started_at`` has ended.

    What was asked for before is done with; if ``move``, the next time is the first one after the start: of
    times that were missed only one is made up for.
    """
    found = _read(connection, _is(key), lock=True)
    if not found:
        return
    asked = found[0].requested_at
    values: dict[str, Any] = {}
    if asked is not None and asked <= started_at:
        values |= {"requested_at": None, "requested_by": None}
    if move:
        values["next_run_at"] = next_run(found[0].timing, started_at)
    if values:
        connection.execute(update(table).where(_is(key)).values(values))


def ring(connection: Connection) -> None:
    """Wake those who wait for a turn, at the end of the transaction."""
    connection.execute(text(f"SELECT pg_notify('{CHANNEL}', '')"))


def told(schedule: Schedule) -> str:
    """Return a schedule in a few words, such as ``every 15 min, only mon-fri 06-18 (UTC)``."""
    timing = schedule.timing
    parts = [f"cron {timing.cron}" if timing.cron else f"every {span(timing.every or timedelta(0))}"]
    parts += [f"only {timing.only}"] if timing.only else []
    parts += [f"not {timing.quiet}"] if timing.quiet else []
    parts += [] if schedule.enabled else ["disabled"]
    return f"{', '.join(parts)} ({timing.zone})"


def span(duration: timedelta) -> str:
    """Return a duration in minutes, or in seconds where it is no whole number of minutes."""
    seconds = duration.total_seconds()
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"


def _default_row(default: Default) -> dict[str, Any]:
    now = datetime.now(UTC)
    # What comes at an interval begins at once.
    following = now if default.timing.every else next_run(default.timing, now)
    row = {**default.key._asdict(), "enabled": default.enabled, "next_run_at": following}
    return row | _timing_row(default.timing)


def _timing_row(timing: Timing) -> dict[str, Any]:
    return {
        "every_seconds": timing.every.total_seconds() if timing.every else None,
        "cron": timing.cron,
        "only_hours": timing.only,
        "quiet_hours": timing.quiet,
        "zone": timing.zone,
    }


def _mended(connection: Connection, schedule: Schedule) -> Schedule:
    latest = next_run(schedule.timing, schedule.seen_at)
    if latest is None or schedule.next_run_at is None or schedule.next_run_at <= latest:
        return schedule
    connection.execute(update(table).where(_is(schedule.key)).values(next_run_at=latest))
    return replace(schedule, next_run_at=latest)


def _is(key: Key) -> ColumnElement[bool]:
    return and_(table.c.tenant == key.tenant, table.c.target == key.target, table.c.site == key.site)


def _one(connection: Connection, key: Key, *, lock: bool = False) -> Schedule:
    found = _read(connection, _is(key), lock=lock)
    if not found:
        site = f" of the Moodle site {key.site}" if key.site else ""
        msg = f"target: there is no schedule {key.target}{site} for the tenant {key.tenant}"
        raise BadArgument(msg)
    return found[0]


def _read(connection: Connection, *where: ColumnElement[bool], lock: bool = False) -> list[Schedule]:
    query = select(table, func.clock_timestamp().label("seen_at")).where(*where)
    query = query.order_by(table.c.tenant, table.c.target, table.c.site)
    found = connection.execute(query.with_for_update() if lock else query)
    return [_schedule(row) for row in found.mappings()]


def _schedule(row: RowMapping) -> Schedule:
    every = row["every_seconds"]
    timing = Timing(
        every=None if every is None else timedelta(seconds=every),
        cron=row["cron"],
        only=row["only_hours"],
        quiet=row["quiet_hours"],
        zone=row["zone"],
    )
    return Schedule(
        key=Key(row["tenant"], Work(row["target"]), row["site"]),
        timing=timing,
        **{
            name: row[name]
            for name in (
                "enabled",
                "next_run_at",
                "requested_at",
                "requested_by",
                "updated_at",
                "updated_by",
                "seen_at",
            )
        },
    )
