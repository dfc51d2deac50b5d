"""The first page: how the hub is doing, brought up to date as long as it is open."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from producers.web.admin.overview import OWNERLESS, Held, OverviewAnswer, RateStep
from producers.web.dashboard.page import HUB, Menu, Page, render
from producers.web.readiness import Finding

_PATH: Final = "/ui/overview"
_PAGES: Final = {
    "conflicts": "/ui/conflicts?state=OPEN",
    "dead letters": "/ui/dead-letters?state=OPEN",
    "refused": "/ui/refused",
    "parked": "/ui/parked",
    "invalid records": "/ui/invalid-records?has_solved_at=false",
    OWNERLESS: "/ui/dead-letters?state=OPEN&ownerless=true",
}
_TONES: Final = {
    "conflicts": "warn",
    "dead letters": "bad",
    "refused": "warn",
    "parked": "plain",
    "invalid records": "warn",
    OWNERLESS: "bad",
}
_PARTS: Final = {
    "database": "Database",
    "outbox": "Outbox",
    "kafka": "Kafka",
    "registry": "Schema registry",
    "read_model": "Read model",
}
_LAST_STEPS: Final = 12


async def _show(request: web.Request) -> web.StreamResponse:
    found, now = await request.app[HUB].admin.overview.answer(request), datetime.now(UTC)
    return render(
        request,
        "overview.html",
        overview=found,
        now=now,
        tiles=[tile(one, now) for one in found.held],
        parts=[part(one) for one in found.checks],
        verdict=verdict(found),
        charts=charts(found.rates),
        latest=found.rates[: -_LAST_STEPS - 1 : -1],
    )


def tile(held: Held, now: datetime) -> dict[str, Any]:
    """Return a tile that tells how much of a kind there is, and leads to it."""
    number = f"{held.count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return {
        "name": held.name.capitalize(),
        "number": f"{number}+" if held.capped else number,
        "hint": f"the oldest for {age(now - held.oldest)}" if held.oldest else "none",
        "tone": _TONES[held.name] if held.count else "good",
        "address": _PAGES[held.name],
    }


def age(passed: timedelta) -> str:
    """Return how long something has lasted, in words, in the largest unit of which it is two or more."""
    seconds = max(0, int(passed.total_seconds()))
    units = (("days", 86_400), ("hours", 3_600), ("minutes", 60))
    name, size = next(((name, size) for name, size in units if seconds >= 2 * size), ("seconds", 1))
    return f"{seconds // size} {name}"


def part(finding: Finding) -> dict[str, str]:
    """Return how one part of the hub is doing, with a tone."""
    tone = "good" if finding.ok else "bad" if finding.needed else "warn"
    name = _PARTS.get(finding.name, finding.name)
    return {"name": name, "tone": tone, "words": "well" if finding.ok else finding.reason}


def verdict(found: OverviewAnswer) -> tuple[str, str]:
    """Return how all is doing in a sentence, with a tone."""
    unwell = [part(one)["name"] for one in found.checks if not one.ok]
    tone = "bad" if any(one.needed for one in found.checks if not one.ok) else "warn"
    critical = [one for one in found.incidents if one.severity == "CRITICAL"]
    if critical:
        return f"Critical: {critical[0].message.rstrip('.')}", "bad"
    if unwell:
        return f"Not well: {', '.join(unwell)}", tone
    if found.incidents:
        return f"{len(found.incidents)} open incident{'s' if len(found.incidents) > 1 else ''}", "warn"
    return "All parts of the hub are well, and there is no open incident", "good"


def charts(rates: Sequence[RateStep]) -> list[dict[str, Any]]:
    """Return the charts of ``rates``: each a title and the data for `charts.js`; none without rates."""
    if not rates:
        return []
    times = [int(one.at.timestamp()) for one in rates]
    return [
        _chart("Calls in five minutes", times, calls=rates, calls_failed=rates),
        _chart("Results in five minutes", times, results=rates, results_failed=rates),
        _chart("Duration of calls in ms: 95 % took no longer", times, p95_ms=rates),
    ]


_SERIES: Final = {
    "calls": "calls",
    "calls_failed": "failed",
    "results": "results",
    "results_failed": "rejected or in conflict",
    "p95_ms": "p95",
}


def _chart(title: str, times: Sequence[int], **series: Sequence[RateStep]) -> dict[str, Any]:
    told = [
        {"name": _SERIES[name], "values": [getattr(step, name) for step in rates]}
        for name, rates in series.items()
    ]
    return {"title": title, "data": {"times": times, "series": told}}


PAGES: Final[Sequence[Page]] = (Page(_PATH, _show, "Overview", menu=Menu.WATCH),)
