"""The processing stages: people, references, courses, completions."""

from infra.cli.roles.context import Context
from infra.cli.roles.engines import engine_of
from infra.cli.stages import stages_of
from infra.engine import run_stage


def run(context: Context) -> None:
    """Run the stage that the role is named after."""
    stage = next(stage for stage in stages_of(context.settings) if stage.name == context.status.role)
    run_stage(stage, engine_of(context), context.stop, context.status)
