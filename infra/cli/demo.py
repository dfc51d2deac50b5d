"""What happens around the hub in the demonstration: courses open in Moodle, learners finish them."""

import asyncio
import json
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.cli.endpoints import Endpoints, notes_of
from infra.cli.parts import database_of, mapping_of
from infra.cli.systems import sis_of, zoho_of
from infra.mapping import Identity, RuleIdentity
from infra.simulators.seed import courses
from infra.stopping import pause
from producers.candidates import Tally
from producers.sis.pull import SisPull
from producers.sis.records import SOURCE as SIS
from producers.zoho.pull import kinds_named
from producers.zoho.pull import pull as pull_zoho
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.ids import TenantId

SEED = 1
"""Seed of the generated feed; the simulator's default."""
SHARE = 0.3
"""How many of the active students finish their course."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the simulated systems hold."""

    users: int
    enrolments: int
    completions: int


class Site:
    """The simulated systems, as people and administrators use them: not through the hub.

    Attributes:
        records: number of records in ELM's feed.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._settings = endpoints.settings
        notes = notes_of(endpoints.settings.data_dir)
        self.records = int(notes["records"])
        self._courses = int(notes["courses"])
        self._moodle = f"{endpoints.settings.moodle_url}/control"
        elm = urlsplit(endpoints.settings.elm_api_url or "")
        self._counts = Counts(0, 0, 0)
        self._elm = f"{elm.scheme}://{elm.netloc}/control"

    async def open_courses(self, stop: asyncio.Event) -> None:
        """Make the courses that the feed enrols in, as soon as Moodle answers; those there already stay."""
        while not stop.is_set():
            try:
                there = await asyncio.to_thread(_ask, f"{self._moodle}/courses")
                break
            except OSError:
                await pause(stop, 0.1)
        else:
            return
        known = {course["idnumber"] for course in there}
        missing = [
            {
                "shortname": course.shortname,
                "fullname": course.long_name,
                "idnumber": str(course.identifier),
                "completion_opt_in": course.completion_opt_in,
            }
            for course in courses(SEED, self._courses)
            if str(course.identifier) not in known
        ]
        await asyncio.to_thread(_ask, f"{self._moodle}/seed", {"courses": missing})

    async def pull(self, stop: asyncio.Event) -> dict[str, Tally]:
        """Read the SIS and Zoho once, as soon as they answer; return what came, by source."""
        settings, mapping = self._settings, mapping_of(self._settings)

        def identity_of(tenant: TenantId, source: str = ZOHO) -> Identity:
            return RuleIdentity(mapping.of(tenant), source)

        for address in (settings.sis_url, settings.zoho_api_url):
            if not await _listens(address or "", stop):
                return {}
        tenant, database = TenantId(settings.default_tenant_id), database_of(settings)
        async with SisPull(sis_of(settings), database, identity_of(tenant, SIS)) as sis:
            of_sis = await sis.pull_once()
        of_zoho = await pull_zoho(zoho_of(settings), database, identity_of, kinds_named(()))
        return {"SIS": of_sis.counts, "Zoho": of_zoho.counts}

    async def finish_courses(self) -> int:
        """Let a share of the active students finish; return how many did who had not before."""
        answer = await asyncio.to_thread(
            _ask, f"{self._moodle}/completions/auto", {"share": SHARE, "seed": SEED}
        )
        return int(answer["added"])

    def counts(self) -> Counts:
        """Return what the systems hold now, or held when they last answered."""
        with suppress(OSError):
            state, completions = _ask(f"{self._moodle}/state"), _ask(f"{self._elm}/status")["completions"]
            self._counts = Counts(state["users"], state["enrolments"], completions)
        return self._counts


async def _listens(address: str, stop: asyncio.Event) -> bool:
    """Wait until somebody listens at ``address``; false if ``stop`` came first."""
    parts = urlsplit(address)
    while not stop.is_set():
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            await pause(stop, 0.1)
        else:
            writer.close()
            await writer.wait_closed()
            return True
    return False


def _ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own simulator
        return json.load(answer)
