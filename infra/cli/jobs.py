"""What the scheduler starts: each job is a process, ``python -m infra.cli.jobs TARGET --tenant T --site S``.

Exit status: 0 the run was noted, however it ended; 1 it was not.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from sqlalchemy import Engine

from connectors.moodle_survey.observe import Observed
from infra import collector, logs
from infra.call_log import Caller, call_log
from infra.calls import OnCall
from infra.cli.endpoints import TETHERED
from infra.cli.parts import (
    database_of,
    kafka_of,
    mapping_of,
    registry_of,
    sis_of,
    topics_of,
    zoho_of,
)
from infra.cli.reconciling import reconcile
from infra.cli.surveys import Where, tell_enrolments, tell_users
from infra.codec import Codec
from infra.db.connect import engine
from infra.errors import HubError
from infra.mapping import RuleIdentity
from infra.settings import Settings
from infra.turns import Outcome, Work
from producers.cleanup import Ages, cleanup
from producers.runs import RunSummary
from producers.schedule_runs import BUSY, BusyError, SkippedError, running, skip
from producers.schedules import Key
from producers.sis.pull import SisPull
from producers.sis.records import SOURCE as SIS
from producers.sis.taking import BusyError as SisBusyError
from producers.zoho.pull import BusyError as ZohoBusyError
from producers.zoho.pull import pull as pull_zoho
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.calls import System
from schemas.ids import Target, TenantId

STOP_SECONDS: Final = 10.0
"""How long a job may take to stop before it is killed."""
_log = structlog.get_logger()

Job = Callable[[Settings, Engine, Key], Outcome]
"""Does it once. It gets the resolved settings, at its Moodle site, the hub's database, and what is due."""


def _sis(settings: Settings, _pool: Engine, _key: Key) -> Outcome:
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


def _zoho(settings: Settings, _pool: Engine, _key: Key) -> Outcome:
    chosen, rules = zoho_of(settings), mapping_of(settings)
    if not chosen.client_id:
        raise SkippedError("no CRM is connected: ZOHO_CLIENT_ID is not set")
    pulling = pull_zoho(chosen, database_of(settings), lambda tenant: RuleIdentity(rules.of(tenant), ZOHO))
    try:
        return _outcome(asyncio.run(pulling))
    except ZohoBusyError as error:
        raise SkippedError(str(error)) from None


def _cleanup(settings: Settings, pool: Engine, _key: Key) -> Outcome:
    return Outcome(cleanup(pool, Ages(settings.cleanup_api_logs_days, settings.cleanup_failed_days)))


def _user_directory(settings: Settings, _pool: Engine, key: Key) -> Outcome:
    with _noting(settings, key) as note:
        return _observed(tell_users(_place(settings, key), note))


def _enrolments(settings: Settings, _pool: Engine, key: Key) -> Outcome:
    with _noting(settings, key) as note:
        return _observed(tell_enrolments(_place(settings, key), note))


def _reconcile(settings: Settings, pool: Engine, key: Key) -> Outcome:
    """Report only: to change anything is for a person, by `hub reconcile --fix`."""
    with _noting(settings, key) as note:
        return Outcome(reconcile(_place(settings, key), pool, on_call=note).counts)


def _grades(_settings: Settings, _pool: Engine, _key: Key) -> Outcome:
    raise SkippedError("no source of grades is connected")


JOBS: Final[Mapping[Work, Job]] = {
    Work.USER_DIRECTORY: _user_directory,
    Work.ENROLLMENTS: _enrolments,
    Work.RECONCILE: _reconcile,
    Work.SIS: _sis,
    Work.ZOHO: _zoho,
    Work.CLEANUP: _cleanup,
    Work.GRADES: _grades,
}
"""What is done for each target that no role of its own does."""


def _outcome(summary: RunSummary) -> Outcome:
    counts = {name: value for name, value in summary.counts._asdict().items() if value}
    return Outcome({"run": summary.run_id, **counts}, summary.reason)


def _observed(observed: Observed) -> Outcome:
    return Outcome({"seen": observed.seen, "told": observed.told})


def _place(settings: Settings, key: Key) -> Where:
    return Where(settings, key.tenant, Target(key.site))


@contextmanager
def _noting(settings: Settings, key: Key) -> Iterator[OnCall]:
    """Give what keeps the calls of a job to Moodle in the log of calls."""
    codec, topic = Codec(registry_of(settings)), topics_of(settings).calls
    caller = Caller(System.MOODLE, Target(key.site), role_of(key.target), key.tenant)
    with call_log(kafka_of(settings), codec, topic, caller) as log:
        yield log.note


def role_of(target: Work) -> str:
    """Return how the process of a job is named in logs."""
    return f"job-{target.lower().replace('_', '-')}"


def do(settings: Settings, key: Key) -> bool:
    """Do the job of ``key`` once and note its run; return false if it could not be noted."""
    url = database_of(settings)
    pool, begun = engine(url, pool_size=2), False
    try:
        with running(url, pool, key) as outcome:
            begun = True
            found = JOBS[key.target](settings, pool, key)
            outcome.counts, outcome.failed = found.counts, found.failed
    except BusyError:
        skip(pool, key, BUSY)
    except HubError as error:
        _log.warning("job_not_done", target=key.target, site=key.site, reason=str(error))
        return begun
    finally:
        pool.dispose()
    return True


async def launch(key: Key) -> bool:
    """Do the job of ``key`` in a process of its own; see `producers.scheduler.Launch`."""
    argv = [*TETHERED, "infra.cli.jobs", key.target, "--tenant", key.tenant, "--site", key.site]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        return await process.wait() == 0
    except asyncio.CancelledError:
        process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise


def main() -> None:
    """Do the job named on the command line; SIGTERM stops it in order, and it stays due."""
    parser = argparse.ArgumentParser(prog="python -m infra.cli.jobs", description=__doc__)
    parser.add_argument("target", choices=list(JOBS))
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--site", default="")
    options = parser.parse_args()
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role=role_of(Work(options.target)), slot="0")
    collector.calm()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if options.site in settings.moodle_sites:
        settings = settings.at_site(options.site)
    key = Key(TenantId(options.tenant), Work(options.target), options.site)
    sys.exit(0 if do(settings, key) else 1)


if __name__ == "__main__":
    main()
