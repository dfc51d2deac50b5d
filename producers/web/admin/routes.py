"""All that the administration reads and does, for the routes of the admin API and for the pages over it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from producers.elm.settings import ElmFeedSettings
from producers.remedies import Means
from producers.web.admin.actions import Actions
from producers.web.admin.conflicts import Conflicts, LookUp
from producers.web.admin.flow import Flow, Part, Sighting
from producers.web.admin.incidents import Incidents
from producers.web.admin.letters import Letters
from producers.web.admin.lists import Desk, detail_routes, list_routes
from producers.web.admin.moodle import Moodle
from producers.web.admin.overview import Overview
from producers.web.admin.preview import Preview
from producers.web.admin.reads import Reads
from producers.web.admin.replays import Replays
from producers.web.admin.schedules import Schedules
from producers.web.admin.story import story_routes
from producers.web.routes import Route
from schemas.ids import TenantId


@dataclass(frozen=True)
class Admin:
    """The administration; see `admin_of`.

    Attributes:
        desk: reads the read model.
        actions: what people can have done.
        schedules: as people see and change them.
        incidents: as people take them on and silence them.
        moodle: how Moodle answers, and how everything stands.
        conflicts: as people look at them.
        letters: dead letters as people look into them.
        overview: how the hub is doing.
        flow: how records flow.
        replays: as people let them rest.
        preview: ELM's feed as people look at it.
    """

    desk: Desk
    actions: Actions
    schedules: Schedules
    incidents: Incidents
    moodle: Moodle
    conflicts: Conflicts
    letters: Letters
    overview: Overview
    flow: Flow
    replays: Replays
    preview: Preview

    @cached_property
    def routes(self) -> list[Route]:
        """All routes of the admin API."""
        return [
            *list_routes(self.desk),
            *detail_routes(self.desk),
            *self.actions.routes(),
            *self.schedules.routes(),
            *self.incidents.routes(),
            *self.moodle.routes(),
            *story_routes(self.desk),
            *self.conflicts.routes(),
            *self.letters.routes(),
            *self.overview.routes(),
            *self.flow.routes(),
            *self.replays.routes(),
            *self.preview.routes(),
        ]

    @cached_property
    def by_path(self) -> Mapping[tuple[str, str], Route]:
        """The routes by method and path."""
        return {(route.method, route.path): route for route in self.routes}


def admin_of(
    means: Means,
    default: TenantId,
    cron_secret: str | None = None,
    look_up: LookUp | None = None,
    flow: tuple[Sequence[Part], Callable[[], Sighting]] | None = None,
    feed: ElmFeedSettings | None = None,
) -> Admin:
    """Return the administration.

    Args:
        means: the hub's database, Kafka and topics.
        default: the hub's own tenant, whose keys see what is of no tenant.
        cron_secret: proves that a cron may nudge; none: it may not.
        look_up: asks Moodle about a conflict; none: it cannot be asked.
        flow: parts of the hub, and what looks how far they are; none: nothing is told of them.
        feed: of ELM; none: there is none.
    """
    desk, actions = Desk(Reads(means.pool), default), Actions(means, default)
    schedules, incidents = Schedules(means.pool, actions.threads), Incidents(means.pool, actions.threads)
    return Admin(
        desk,
        actions,
        schedules,
        incidents,
        Moodle(desk, actions, cron_secret),
        Conflicts(means.pool, look_up),
        Letters(desk, means),
        Overview(desk),
        Flow(desk, *(flow or ())),
        Replays(means.pool, actions.threads),
        Preview(desk, means.pool, actions.threads, feed),
    )


def admin_routes(means: Means, default: TenantId, cron_secret: str | None = None) -> list[Route]:
    """Return the routes of the admin API; see `admin_of`."""
    return admin_of(means, default, cron_secret).routes
