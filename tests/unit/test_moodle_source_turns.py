"""The Moodle source takes its turns when it is told to, and notes each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from connectors.moodle.client import MoodleClient
from connectors.moodle_source.source import MoodleSource
from infra.errors import RetryLater
from infra.stopping import pause
from infra.turns import ASKED, NEVER, Outcome, Work
from tests.unit.test_moodle_source import NOW, Site, Told, connected, running, source_settings, until

CATALOGUE, COMPLETIONS = Work.COURSE_CATALOG, Work.COMPLETIONS


class Given:
    """Turns as a test gives them: ``seconds`` to each; one that is taken is not due again by itself."""

    def __init__(self, seconds: Mapping[Work, float]) -> None:
        self.seconds = dict(seconds)
        self.taken: list[tuple[Work, Outcome | str]] = []
        self.rung = asyncio.Event()

    def give(self, work: Work, seconds: float) -> None:
        self.seconds[work] = seconds
        self.rung.set()

    def works(self) -> list[Work]:
        return [work for work, _ in self.taken]

    async def seconds_to(self, work: Work) -> float:
        return self.seconds[work]

    async def pause(self, stop: asyncio.Event, seconds: float) -> None:
        ringing = asyncio.ensure_future(self.rung.wait())
        stopping = asyncio.ensure_future(pause(stop, min(seconds, 60.0)))
        await asyncio.wait({ringing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ringing.cancel()
        stopping.cancel()
        self.rung.clear()

    @asynccontextmanager
    async def take(self, work: Work) -> AsyncIterator[Outcome]:
        outcome = Outcome()
        try:
            yield outcome
        except RetryLater as error:
            self.taken.append((work, str(error)))
            raise
        self.seconds[work] = NEVER
        self.taken.append((work, outcome))


def taking(client: MoodleClient, told: Told, turns: Given, rest_factor: float = 0.0) -> MoodleSource:
    settings = source_settings(rest_factor=rest_factor)
    return MoodleSource(settings, client, told, now=lambda: NOW, turns=turns)


async def test_what_is_never_due_is_not_read() -> None:
    site, turns = Site(), Given({CATALOGUE: NEVER, COMPLETIONS: NEVER})
    async with connected(site) as client, running(one := taking(client, Told(), turns)):
        await until(lambda: one.status["at_work"])
        assert (turns.taken, site.state.calls.counters) == ([], {})
        turns.give(CATALOGUE, 0)
        await until(lambda: turns.taken)
    assert turns.taken == [(CATALOGUE, Outcome({"courses": 3, "ambiguous": 0}))]


async def test_completions_bring_the_catalogue_they_need_once() -> None:
    site, told, turns = Site(), Told(), Given({CATALOGUE: NEVER, COMPLETIONS: 0})
    site.complete(0, 101)
    async with connected(site) as client, running(taking(client, told, turns)):
        await until(lambda: len(turns.taken) == 2)
        turns.give(COMPLETIONS, 0)
        await until(lambda: len(turns.taken) == 3)
    assert turns.works() == [CATALOGUE, COMPLETIONS, COMPLETIONS]
    outcome = turns.taken[1][1]
    assert isinstance(outcome, Outcome)
    assert (outcome.counts["completions"], outcome.counts["sweeps"]) == (1, 1)


async def test_a_site_rests_unless_somebody_asks() -> None:
    site, turns = Site(), Given({CATALOGUE: 0, COMPLETIONS: NEVER})
    async with connected(site) as client, running(taking(client, Told(), turns, rest_factor=1e6)):
        await until(lambda: turns.taken)
        turns.give(CATALOGUE, 0)
        await asyncio.sleep(0.05)
        assert len(turns.taken) == 1
        turns.give(CATALOGUE, ASKED)
        await until(lambda: len(turns.taken) == 2)


async def test_a_failure_is_noted_and_tried_again() -> None:
    site, turns = Site(), Given({CATALOGUE: 0, COMPLETIONS: NEVER})
    told = Told(troubles=[RetryLater("Kafka is away")])
    async with connected(site) as client, running(taking(client, told, turns)):
        await until(lambda: len(turns.taken) == 2)
    assert turns.taken[0] == (CATALOGUE, "Kafka is away")
    assert turns.works() == [CATALOGUE, CATALOGUE]


async def test_another_process_that_is_at_it_is_waited_for() -> None:
    class Busy(Given):
        @asynccontextmanager
        async def take(self, work: Work) -> AsyncIterator[Outcome]:
            if self.seconds[work] <= 0:
                raise RetryLater("another run is under way")
            async with super().take(work) as outcome:
                yield outcome

    site, turns = Site(), Busy({CATALOGUE: 0, COMPLETIONS: NEVER})
    async with connected(site) as client, running(one := taking(client, Told(), turns)):
        await until(lambda: one.status["retrying"])
    assert one.status["retrying"] == "another run is under way"
    assert site.state.calls.counters == {}
