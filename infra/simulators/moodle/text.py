"""How Moodle shows names and dates to its readers."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_BARE_AMPERSAND = re.compile(r"&(?!#?[A-Za-z0-9]{1,8};)")


def formatted(name: str) -> str:
    """A name as it is read back: `&` has become `&amp;`, so what was written is not what is read."""
    return _BARE_AMPERSAND.sub("&amp;", name)


@lru_cache(maxsize=100_000)
def date_text(stamp: int | None, zone: str) -> str:
    """A time in English to the minute in the reader's zone, e.g. `Saturday, 21 November 2026, 5:13 AM`."""
    if not stamp:
        return ""
    local = datetime.fromtimestamp(stamp, UTC).astimezone(ZoneInfo(zone))
    hour = local.hour % 12 or 12
    return f"{local:%A}, {local.day} {local:%B %Y}, {hour}:{local:%M %p}"
