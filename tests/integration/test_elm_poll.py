"""The whole way in, on the ELM stand-in by real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infra.db.migrate import migrate
from infra.settings import ElmFeed
from infra.simulators.elm import ElmState, serve
from infra.simulators.elm import Settings as ElmSettings
from infra.simulators.seed import SeedPlan, records as seeded
from infra.simulators.seed_oracle import expected
from producers.elm.poll import ElmPoll
from producers.elm.settings import ElmFeedSettings
from producers.runs import RunState
from schemas.events import Enrolment, EnrolmentStatus
from schemas.topics import ENROLMENTS
from tests.integration import intake_support as support

pytestmark = pytest.mark.integration

TOKEN = "feed-token"


@asynccontextmanager
async def feed(
    database: str, records: list[dict[str, Any]], server: ElmSettings | None = None, **settings: Any
) -> AsyncIterator[tuple[ElmState, ElmPoll]]:
    """Give a stand-in with these records, and a poll of it into a migrated database."""
    migrate(database)
    state = ElmState(TOKEN, settings=server, seed=records)
    async with serve(state) as running:
        chosen = {"url": running.feed_url, "token": TOKEN, "tenant": support.TENANT, "timeout": 10.0}
        async with ElmPoll(ElmFeedSettings(**(chosen | settings)), database) as poll:
            yield state, poll


async def test_a_feed_ends_as_events_whose_newest_are_the_wished_state(
    fresh_database: str, kafka: str, registry_url: str, topic_prefix: str
) -> None:
    records = list(seeded(SeedPlan(seed=7, records=600)))
    oracle = expected(records)
    async with feed(fresh_database, records, page_size=150) as (_, poll):
        first = await poll.poll_once()
        second = await poll.poll_once()
    assert (first.state, second.state) == (RunState.SUCCEEDED, RunState.SUCCEEDED)
    assert first.counts.seen == 600 - len(oracle.unreachable)
    assert first.counts.invalid == len(oracle.invalid)
    assert (second.counts.fresh, second.counts.new, second.counts.updated) == (0, 0, 0)
    support.make_topics(kafka, registry_url, topic_prefix)
    with support.relaying(support.relay_settings(fresh_database, kafka, registry_url, topic_prefix)):
        support.until_relayed(fresh_database)
    newest: dict[tuple[str, int], Enrolment] = {}
    for event in support.records(kafka, registry_url, topic_prefix, ENROLMENTS):
        assert isinstance(event, Enrolment)
        pair = (str(event.person_id), int(event.course_id))
        if pair not in newest or event.version >= newest[pair].version:
            newest[pair] = event
    active = {pair for pair, event in newest.items() if event.status is EnrolmentStatus.ACTIVE}
    assert active == set(oracle.active)
    assert set(newest) - active == set(oracle.suspended)
