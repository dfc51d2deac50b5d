"""The sink that brings the commands to a Moodle site."""

from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from infra.cli.parts import sites_of
from infra.cli.roles.context import Context
from infra.cli.roles.engines import engine_of, sink_of
from infra.cli.roles.noting import noting
from infra.cli.systems import moodle_of
from infra.engine import run_sink
from infra.settings import Settings
from schemas.calls import System
from schemas.events import Role
from schemas.ids import Target


def group_of(settings: Settings) -> str:
    """Return the consumer group of the Moodle sink, without prefix; every Moodle site has its own."""
    return f"moodle-sink.{settings.moodle_target}"


def run(context: Context) -> None:
    """Bring the commands to the Moodle site, and write their results."""
    settings = context.settings
    topics = sites_of(settings).of(Target(settings.moodle_target))
    with noting(context, System.MOODLE, Target(settings.moodle_target)) as note:
        sink = MoodleSink(
            _sink_settings(settings),
            moodle_of(settings),
            commands=topics.commands,
            results=topics.results,
            dead_letters=topics.moodle_dead_letters,
            name=group_of(settings),
            on_call=note,
        )
        run_sink(sink, engine_of(context), context.stop, sink_of(context), context.status)


def _sink_settings(settings: Settings) -> SinkSettings:
    return SinkSettings(
        roles={
            Role.STUDENT: settings.moodle_student_role_id,
            Role.TEACHER: settings.moodle_teacher_role_id,
            Role.NON_EDITING_TEACHER: settings.moodle_non_editing_teacher_role_id,
        },
        groups=settings.moodle_groups,
        default_category_id=settings.moodle_default_category_id,
    )
