"""`hub pull zoho`: Zoho's CRM into the hub."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from infra.db.migrate import migrate
from infra.errors import HubError
from producers.candidates import Tally
from producers.runs import RunSummary
from producers.zoho.pull import kinds_named, pull
from producers.zoho.settings import ZohoSettings
from producers.zoho.source import IdentityOf

_COLUMNS = ("seen", "new", "updated", "unchanged", "skipped", "invalid", "errors")


def pull_zoho(
    settings: ZohoSettings,
    database_url: str,
    identity_of: IdentityOf,
    *,
    modules: Sequence[str] = (),
    since: str | None = None,
    full: bool = False,
    console: Console | None = None,
) -> int:
    """Pull and print what came; return the exit status: 0, or 1 when some records could not be used.

    What waits for another record counts as skipped. Reading again is harmless: what is known is unchanged.

    Args:
        settings: of Zoho.
        database_url: where the intake keeps its tables; they are brought up to date.
        identity_of: gives the rules for the ids of people and courses.
        modules: names of modules (``BTEC_Students``) or kinds (``students``); none: all.
        since: an ISO 8601 time (UTC where it names no zone); none: since the last pull.
        full: read everything.
        console: where the table is printed; none: standard output.

    Raises:
        HubError: there is no such module, ``since`` is no time, or the CRM or the database fails.
    """
    kinds, moment = kinds_named(modules), since_of(since)
    migrate(database_url)
    counts: dict[str, Tally] = {}
    summary = asyncio.run(
        pull(
            settings,
            database_url,
            identity_of,
            kinds,
            moment,
            full=full,
            told=counts.__setitem__,
        )
    )
    (console or Console()).print(_table(counts, summary))
    return 1 if summary.counts.invalid or summary.counts.errors else 0


def since_of(text: str | None) -> datetime | None:
    """Return the time that ``text`` names.

    Raises:
        HubError: it names none.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is no time in ISO 8601, such as 2026-01-31T08:00:00Z"
        raise HubError(msg) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _table(counts: dict[str, Tally], summary: RunSummary) -> Table:
    table = Table("kind", *_COLUMNS, title=f"pull {summary.run_id}: {summary.state.value.lower()}")
    for name, found in [*counts.items(), ("all", summary.counts)]:
        table.add_row(name, *(str(getattr(found, column)) for column in _COLUMNS))
    return table
