"""The watch over the hub itself."""

from infra.cli.alerting import alerts_of
from infra.cli.roles.context import Context
from producers.alerts.watch import run_alerts


def run(context: Context) -> None:
    """Keep incidents of what is not as it should be, and have people told."""
    run_alerts(alerts_of(context.settings), context.stop, context.status)
