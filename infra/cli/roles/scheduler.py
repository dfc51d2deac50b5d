"""The scheduler of jobs."""

from datetime import timedelta

from infra.cli.figures import showing_figures
from infra.cli.jobs import JOBS, launch
from infra.cli.parts import database_of
from infra.cli.planned import planned
from infra.cli.roles.context import Context
from producers.overdue import AlarmAges
from producers.scheduler import SchedulerSettings, run_scheduler


def run(context: Context) -> None:
    """Start what is due, each in a process of its own; show the figures of the hub as a whole."""
    settings = context.settings
    hours_by_kind = settings.parked_alarm_hours_by_kind
    by_kind = {str(kind): timedelta(hours=hours) for kind, hours in hours_by_kind.items()}
    scheduler = SchedulerSettings(
        database_url=database_of(settings),
        defaults=planned(settings),
        works=JOBS,
        launch=launch,
        ages=AlarmAges(timedelta(hours=settings.parked_alarm_hours), by_kind),
    )
    with showing_figures(settings):
        run_scheduler(scheduler, context.stop, context.status)
