"""The projector of the read model."""

from connectors.read_model.project import ProjectorSettings, run_projector
from infra.cli.parts import database_of, kafka_of, registry_of, sites_of
from infra.cli.roles.context import Context
from infra.cli.state_rows import changes_of
from infra.codec import Codec
from infra.settings import Settings


def projector_of(settings: Settings) -> ProjectorSettings:
    """Return what the projector of the read model needs."""
    return ProjectorSettings(
        database_url=database_of(settings),
        kafka=kafka_of(settings),
        codec=Codec(registry_of(settings)),
        topics=sites_of(settings).all(),
        changes=changes_of(settings),
    )


def run(context: Context) -> None:
    """Keep the read model up to date with all topics."""
    run_projector(projector_of(context.settings), context.stop, context.status)
