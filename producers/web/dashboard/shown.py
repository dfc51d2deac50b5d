"""How values are shown: texts and tones. Pure; filters of the templates."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec
from markupsafe import Markup, escape

NONE: Final = "–"
_NOTHING: Final = Markup('<span class="none">{}</span>').format(NONE)
_BADGE: Final = Markup('<span class="badge {}">{}</span>')
_MOMENT: Final = Markup('<time datetime="{}">{}</time>')
_CODE: Final = Markup("<code>{}</code>")
_LINK: Final = Markup('<a href="{}">{}</a>')
_GOOD: Final = """active enabled ready ok redriven healthy OK ACTIVE APPLIED UNCHANGED SUCCESS DELIVERED
ALREADY_THERE RESOLVED DONE FINISHED REDRIVEN CLOSED READY NEW_USER"""
_WARN: Final = """invited degraded expired ignored unknown PARKED WAITING RUNNING PARTIAL WARNING ACKNOWLEDGED
WAITS ON_ITS_WAY SUPERSEDED SKIPPED PENDING HALF_OPEN SUSPENDED IGNORED STALE"""
_BAD: Final = """disabled revoked failing OPEN FAILED REJECTED CRITICAL CONFLICT ERROR INVALID UNREADABLE DEAD
REFUSED STOPPED INTERRUPTED BLOCKED MISMATCH"""
TONES: Final[Mapping[str, str]] = {
    word: tone for tone, words in (("good", _GOOD), ("warn", _WARN), ("bad", _BAD)) for word in words.split()
}
"""The tone of words that tell a state; all others have none."""


def tone(value: object) -> str:
    """Return the tone of a word that tells a state: ``good``, ``warn``, ``bad`` or ``plain``."""
    return TONES.get(str(value), "plain")


def moment(value: datetime | None) -> str:
    """Return a time in UTC to the second."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if value else NONE


def machine_moment(value: datetime) -> str:
    """Return a time as machines read it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def kind_of(value: object) -> str:
    """Return how a value is shown: none, flag, moment, number, list, json or text."""
    if value is None or value == "":
        return "none"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "flag"),
        (datetime, "moment"),
        ((int, float), "number"),
        ((list, tuple), "list"),
        (dict, "json"),
    )
    return next((kind for of, kind in kinds if isinstance(value, of)), "text")


def value(found: object) -> str:
    """Return any value in one line."""
    match found:
        case None | "":
            return NONE
        case bool():
            return "yes" if found else "no"
        case datetime():
            return moment(found)
        case date():
            return found.isoformat()
        case int():
            return f"{found:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        case list() | tuple():
            return ", ".join(map(value, found))
        case dict() if all(isinstance(one, str | int | float) for one in found.values()):
            return ", ".join(f"{name} {value(one)}" for name, one in found.items())
        case dict():
            return msgspec.json.encode(found).decode()
        case _:
            return str(found)


def cell(found: object, *, badge: bool = False, code: bool = False, address: str = "") -> Markup:
    """Return a value as it stands in a table; escaped. Tables are long: a macro would take thrice the time.

    Args:
        found: the value.
        badge: it is a state.
        code: it is a technical name.
        address: it leads there.
    """
    if found is None or found == "":
        return _NOTHING
    if badge and not address:
        return _BADGE.format(tone(found), value(found))
    shown: str | Markup = value(found)
    if isinstance(found, datetime):
        shown = _MOMENT.format(machine_moment(found), shown)
    elif code and not address:
        return _CODE.format(found if isinstance(found, int) else shown)
    return _LINK.format(address, shown) if address else escape(shown)


def pretty(found: Any) -> str:
    """Return JSON values in several lines."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def words(name: str) -> str:
    """Return the name of a column as people read it, such as ``Last seen`` for ``last_seen``."""
    text = name.replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]


def number(found: int, name: str) -> str:
    """Return a number of the column ``name``; one that is a name, which people copy, without separators."""
    is_name = name == "id" or name.endswith(("_id", "offset"))
    return str(found) if is_name else value(found)


def segment(found: object) -> str:
    """Return any value as one part of an address."""
    return quote(str(found), safe="")


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "cell": cell,
    "kind_of": kind_of,
    "machine_moment": machine_moment,
    "moment": moment,
    "number": number,
    "pretty": pretty,
    "segment": segment,
    "tone": tone,
    "value": value,
    "words": words,
}
