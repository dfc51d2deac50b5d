"""The schedules as the settings have them: what nobody has changed follows these."""

from datetime import timedelta
from itertools import chain

from infra.cli.parts import database_of, tenant_at_site, tenant_of
from infra.settings import Settings
from infra.turns import Work
from producers.scheduled_turns import ScheduledTurns
from producers.schedules import Default, Key
from producers.timing import Timing

_HOURLY = Timing(every=timedelta(hours=1))
_NIGHTLY = Timing(cron="30 3 * * *")


def planned(settings: Settings) -> list[Default]:
    """Return all schedules of a hub with these settings."""
    sites = (settings, *(settings.at_site(name) for name in settings.moodle_sites))
    return [*_of_sources(settings), *chain.from_iterable(map(_of_site, sites))]


def turns_of(settings: Settings, *works: Work) -> ScheduledTurns:
    """Return the turns of a role that does ``works``, some of them at the Moodle site of ``settings``."""
    own = [*_of_sources(settings), *_of_site(settings)]
    return ScheduledTurns(database_of(settings), [default for default in own if default.key.target in works])


def _of_sources(settings: Settings) -> list[Default]:
    """Return what is of no Moodle site. Pulls are begun by hand until somebody enables their schedules."""
    tenant = tenant_of(settings)
    return [
        Default(Key(tenant, Work.ELM), _every(settings.elm_poll_interval), enabled=True),
        Default(Key(tenant, Work.SIS), _HOURLY, enabled=False),
        Default(Key(tenant, Work.ZOHO), _HOURLY, enabled=False),
        Default(Key(tenant, Work.CLEANUP), _NIGHTLY, enabled=True),
    ]


def _of_site(settings: Settings) -> list[Default]:
    tenant, site = tenant_at_site(settings), settings.moodle_target
    timings = {
        Work.COURSE_CATALOG: (_every(settings.moodle_catalogue_interval), True),
        Work.COMPLETIONS: (_every(settings.moodle_completion_interval), True),
        Work.USER_DIRECTORY: (_NIGHTLY, False),
        Work.ENROLLMENTS: (_NIGHTLY, False),
        Work.GRADES: (_NIGHTLY, False),
        Work.RECONCILE: (_NIGHTLY, False),
    }
    return [Default(Key(tenant, work, site), *timing) for work, timing in timings.items()]


def _every(seconds: float) -> Timing:
    return Timing(every=timedelta(seconds=seconds))
