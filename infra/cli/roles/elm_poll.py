"""The poll of ELM's feed."""

import asyncio

from infra.cli.parts import database_of
from infra.cli.planned import turns_of
from infra.cli.roles.context import Context
from infra.cli.systems import feed_of
from infra.stopping import mirrored
from infra.turns import Work
from producers.elm.poll import run_elm_poll


def run(context: Context) -> None:
    """Read what is new in the feed, whenever its schedule says so."""
    feed, database = feed_of(context.settings), database_of(context.settings)

    async def poll() -> None:
        async with turns_of(context.settings, Work.ELM) as turns:
            await run_elm_poll(feed, database, mirrored(context.stop), context.status, turns)

    asyncio.run(poll())
