"""What the scheduler shows of the hub as a whole, put together from resolved settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Final

from prometheus_client import REGISTRY

from infra.cli.parts import database_of, kafka_of, sites_of
from infra.cli.stages import groups_of
from infra.db.connect import engine
from infra.figures import Figure, Figures, Part
from infra.metrics import LAG
from infra.scan import Onlooker, Place
from infra.settings import Settings
from producers import figures

_PROJECTOR: Final = "projector"
_KAFKA_SECONDS: Final = 3.0


@contextmanager
def showing_figures(settings: Settings) -> Iterator[None]:
    """Show the figures of the hub's database and of Kafka in ``/metrics`` of this process, in the block."""
    groups, prefix = groups_of(settings) | _analytics(settings), settings.topic_prefix
    pool = engine(database_of(settings), pool_size=1)
    with closing(Onlooker(kafka_of(settings), _KAFKA_SECONDS)) as onlooker:

        def lags() -> Sequence[Figure]:
            return lag_figures(onlooker, groups, figures.positions(pool), prefix)

        collector = Figures([*figures.parts(pool), Part("kafka", lags)])
        REGISTRY.register(collector)
        try:
            yield
        finally:
            REGISTRY.unregister(collector)
            pool.dispose()


def _analytics(settings: Settings) -> dict[str, list[str]]:
    """Return the consumer group of the analytics stream with its topics; it is no stage of the hub."""
    where = sites_of(settings)
    results = [topics.results.name for topics in where.by_target.values()]
    topics = [where.shared.calls.name, where.shared.callback_results.name, *results]
    return {f"{settings.topic_prefix}analytics": topics}


def lag_figures(
    onlooker: Onlooker, groups: Mapping[str, Sequence[str]], read: Mapping[Place, int], prefix: str
) -> list[Figure]:
    """Return how many offsets every role has before it, by topic.

    Args:
        onlooker: asks the brokers.
        groups: consumer groups with their topics, as in the cluster.
        read: the next offset of each partition that the projector reads, which has no group.
        prefix: of groups, which their roles do not have.

    Raises:
        RetryLater: the brokers do not answer.
    """
    lags = {
        (group.removeprefix(prefix), topic): lag
        for (group, topic), lag in onlooker.lags_by_topic(groups).items()
    }
    for place, end in onlooker.ends(sorted({topic for topic, _ in read})).items():
        name = (_PROJECTOR, place[0])
        lags[name] = lags.get(name, 0) + max(0, end - read.get(place, end))
    return [Figure(LAG, labels, lag) for labels, lag in lags.items()]
