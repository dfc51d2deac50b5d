"""All routes of the admin API."""

from producers.remedies import Means
from producers.web.admin.actions import Actions
from producers.web.admin.lists import Desk, detail_routes, list_routes
from producers.web.admin.moodle import Moodle
from producers.web.admin.reads import Reads
from producers.web.admin.schedules import Schedules
from producers.web.routes import Route
from schemas.ids import TenantId


def admin_routes(means: Means, default: TenantId, cron_secret: str | None = None) -> list[Route]:
    """Return the routes.

    Args:
        means: the hub's database, Kafka and topics.
        default: the hub's own tenant, whose keys see what is of no tenant.
        cron_secret: proves that a cron may nudge; none: it may not.
    """
    desk, actions = Desk(Reads(means.pool), default), Actions(means, default)
    return [
        *list_routes(desk),
        *detail_routes(desk),
        *actions.routes(),
        *Schedules(means.pool, actions.threads).routes(),
        *Moodle(desk, actions, cron_secret).routes(),
    ]
