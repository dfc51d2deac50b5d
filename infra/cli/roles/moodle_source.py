"""The source of what is observed at a Moodle site."""

from zoneinfo import ZoneInfo

from connectors.moodle_source.role import run_moodle_source
from connectors.moodle_source.settings import MoodleSourceSettings
from infra.cli.parts import tenant_at_site
from infra.cli.planned import turns_of
from infra.cli.roles.context import Context
from infra.cli.roles.engines import engine_of
from infra.cli.roles.noting import noting
from infra.cli.systems import moodle_of
from infra.turns import Work
from schemas.calls import System
from schemas.ids import Target


def run(context: Context) -> None:
    """Read catalogue and completions, whenever their schedules say so."""
    settings = context.settings
    source = MoodleSourceSettings(
        tenant=tenant_at_site(settings),
        target=Target(settings.moodle_target),
        zone=ZoneInfo(settings.moodle_timezone),
        catalogue_interval=settings.moodle_catalogue_interval,
        completions_interval=settings.moodle_completion_interval,
        sweep_interval=settings.moodle_sweep_interval,
        recent_report_id=settings.moodle_completion_report_id,
        all_report_id=settings.moodle_participants_report_id,
        stop_retry=settings.stop_retry_interval,
    )
    with noting(context, System.MOODLE, source.target) as note:
        turns = turns_of(settings, Work.COURSE_CATALOG, Work.COMPLETIONS)
        moodle = moodle_of(settings)
        run_moodle_source(source, moodle, engine_of(context), context.stop, context.status, note, turns)
