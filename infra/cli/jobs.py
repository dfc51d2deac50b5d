"""What the scheduler starts: each job is a process, ``python -m infra.cli.jobs TARGET --tenant T --site S``.

Exit status: 0 the run was noted, however it ended; 1 it was not.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy import Engine

from infra import collector, logs
from infra.cli.parts import database_of
from infra.cli.places import found
from infra.cli.supervisor import TETHERED
from infra.db.connect import engine
from infra.errors import HubError
from infra.settings import Settings
from infra.tracing import tracing
from infra.turns import Outcome, Work
from producers.cleanup import Ages, cleanup
from producers.schedule_runs import BUSY, BusyError, running, skip
from producers.schedules import Key
from schemas.ids import TenantId

STOP_SECONDS: Final = 10.0
"""How long a job may take to stop before it is killed."""
_log = structlog.get_logger()

Job = Callable[[Settings, Engine, Key], Outcome]
"""Does it once. It gets the resolved settings, at its Moodle site, the hub's database, and what is due."""


def cleaned_up(settings: Settings, pool: Engine, _key: Key) -> Outcome:
    """Delete what the hub need not keep any longer."""
    return Outcome(cleanup(pool, Ages(settings.cleanup_api_logs_days, settings.cleanup_failed_days)))


JOBS: Final[Mapping[Work, str]] = {
    Work.USER_DIRECTORY: "infra.cli.moodle_jobs:user_directory",
    Work.ENROLLMENTS: "infra.cli.moodle_jobs:enrolments",
    Work.RECONCILE: "infra.cli.moodle_jobs:reconcile",
    Work.SIS: "infra.cli.pull_jobs:sis",
    Work.ZOHO: "infra.cli.pull_jobs:zoho",
    Work.CLEANUP: "infra.cli.jobs:cleaned_up",
    Work.GRADES: "infra.cli.moodle_jobs:grades",
}
"""What is done for each target that no role of its own does: module and function, a `Job`."""


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
            job: Job = found(JOBS[key.target])
            done = job(settings, pool, key)
            outcome.counts, outcome.failed = done.counts, done.failed
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
    with tracing(settings.otel_exporter_otlp_endpoint, role_of(key.target)):
        noted = do(settings, key)
    sys.exit(0 if noted else 1)


if __name__ == "__main__":
    main()
