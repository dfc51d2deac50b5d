"""The jobs that read from the sources: the SIS and the CRM."""

import asyncio

from sqlalchemy import Engine

from infra.cli.parts import database_of, mapping_of
from infra.cli.systems import sis_of, zoho_of
from infra.mapping import RuleIdentity
from infra.settings import Settings
from infra.turns import Outcome
from producers.runs import RunSummary
from producers.schedule_runs import SkippedError
from producers.schedules import Key
from producers.sis.pull import SisPull
from producers.sis.records import SOURCE as SIS
from producers.sis.taking import BusyError as SisBusyError
from producers.zoho.pull import BusyError as ZohoBusyError
from producers.zoho.pull import pull as pull_zoho
from producers.zoho.to_events import SOURCE as ZOHO


def sis(settings: Settings, _pool: Engine, _key: Key) -> Outcome:
    """Pull what is new in the SIS."""
    if settings.sis_url is None:
        raise SkippedError("no SIS is connected: SIS_URL is not set")
    chosen = sis_of(settings)
    identity = RuleIdentity(mapping_of(settings).of(chosen.tenant), SIS)

    async def pull() -> RunSummary:
        async with SisPull(chosen, database_of(settings), identity) as pulling:
            return await pulling.pull_once()

    try:
        return _outcome(asyncio.run(pull()))
    except SisBusyError as error:
        raise SkippedError(str(error)) from None


def zoho(settings: Settings, _pool: Engine, _key: Key) -> Outcome:
    """Pull what is new in the CRM."""
    chosen, rules = zoho_of(settings), mapping_of(settings)
    if not chosen.client_id:
        raise SkippedError("no CRM is connected: ZOHO_CLIENT_ID is not set")
    pulling = pull_zoho(chosen, database_of(settings), lambda tenant: RuleIdentity(rules.of(tenant), ZOHO))
    try:
        return _outcome(asyncio.run(pulling))
    except ZohoBusyError as error:
        raise SkippedError(str(error)) from None


def _outcome(summary: RunSummary) -> Outcome:
    counts = {name: value for name, value in summary.counts._asdict().items() if value}
    return Outcome({"run": summary.run_id, **counts}, summary.reason)
