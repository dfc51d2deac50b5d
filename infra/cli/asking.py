"""What commands about records share: options, ages as people write them, the question before the deed."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from infra.errors import BadArgument, Unsafe

Tenant = Annotated[str | None, typer.Option(help="Whose. [default: DEFAULT_TENANT_ID]")]
Why = Annotated[str, typer.Option(help="Why, in your own words; kept in the audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def before(option: str, age: str | None) -> datetime | None:
    """Return the moment that lies ``age`` back, such as ``30m``, ``24h`` or ``7d``; none for none.

    Raises:
        BadArgument: it is no age; names ``option``.
    """
    if age is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([mhd])", age)
    if found is None:
        msg = f"{option}: {age!r} is no age such as 30m, 24h or 7d"
        raise BadArgument(msg)
    return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})


def agree(question: str, *, yes: bool) -> None:
    """Ask ``question`` at the terminal, unless it was answered beforehand by ``--yes``.

    Raises:
        Unsafe: there is nobody to be asked, or they do not agree; nothing was done.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        msg = "nothing was done: there is no terminal to ask at; say --yes"
        raise Unsafe(msg)
    if not typer.confirm(question):
        raise Unsafe("nothing was done")


def age_of(since: datetime) -> str:
    """Return how long ago ``since`` was, in its largest unit, such as ``3d``."""
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    days, hours = minutes // 1440, minutes // 60
    return f"{days}d" if days else f"{hours}h" if hours else f"{minutes}m"
