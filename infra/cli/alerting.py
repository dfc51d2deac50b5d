"""How the hub is watched and who is told, put together from the settings."""

from collections.abc import Iterator
from datetime import time, timedelta
from zoneinfo import ZoneInfo

from infra.cli.parts import database_of, tenant_of
from infra.errors import Stop
from infra.settings import Settings
from producers.alerts.channels import Channel, Email, Slack, Tls, Webhook
from producers.alerts.daily import Daily
from producers.alerts.facts import Limits
from producers.alerts.notices import Frame
from producers.alerts.settings import AlertSettings
from producers.overdue import AlarmAges


def alerts_of(settings: Settings) -> AlertSettings:
    """Return what the role that watches the hub needs.

    Raises:
        Stop: a channel is not wholly set.
    """
    return AlertSettings(
        database_url=database_of(settings),
        tenant=tenant_of(settings),
        channels=list(channels_of(settings)),
        frame=frame_of(settings),
        limits=limits_of(settings),
        calm=timedelta(minutes=settings.alert_resolve_minutes),
        daily=_daily(settings),
    )


def channels_of(settings: Settings) -> Iterator[Channel]:
    """Yield the channels that are set.

    Raises:
        Stop: one is not wholly set.
    """
    if settings.alert_email_to is not None:
        yield _email(settings, settings.alert_email_to)
    if settings.alert_webhook_url is not None:
        if settings.alert_webhook_secret is None:
            raise Stop("ALERT_WEBHOOK_URL needs ALERT_WEBHOOK_SECRET, by which its receiver knows the hub")
        secret = settings.alert_webhook_secret.get_secret_value()
        yield Webhook(settings.alert_webhook_url.get_secret_value(), secret)
    if settings.alert_slack_url is not None:
        yield Slack(settings.alert_slack_url.get_secret_value())


def frame_of(settings: Settings) -> Frame:
    """Return where messages lead to."""
    return Frame(settings.api_public_url or "")


def limits_of(settings: Settings) -> Limits:
    """Return when something is an alert."""
    return Limits(
        window=timedelta(minutes=settings.alert_window_minutes),
        least_traffic=settings.alert_least_traffic,
        failed_share=settings.alert_failure_percent / 100,
        call_ms=round(settings.alert_call_seconds * 1000),
        feed_runs=settings.alert_feed_intervals,
        parked=ages_of(settings),
        conflict=timedelta(hours=settings.alert_conflict_hours),
        outbox=timedelta(minutes=settings.alert_outbox_minutes),
    )


def ages_of(settings: Settings) -> AlarmAges:
    """Return when what is parked is an alarm."""
    by_kind = settings.parked_alarm_hours_by_kind.items()
    return AlarmAges(
        timedelta(hours=settings.parked_alarm_hours),
        {str(kind): timedelta(hours=hours) for kind, hours in by_kind},
    )


def _email(settings: Settings, to: str) -> Email:
    if settings.smtp_host is None:
        raise Stop("ALERT_EMAIL_TO needs SMTP_HOST")
    password = settings.smtp_password
    return Email(
        to=tuple(address.strip() for address in to.split(",") if address.strip()),
        sender=settings.alert_email_from,
        host=settings.smtp_host,
        port=settings.smtp_port,
        tls=Tls(settings.smtp_tls),
        user=settings.smtp_user,
        password=password.get_secret_value() if password else "",
    )


def _daily(settings: Settings) -> Daily | None:
    if settings.alert_daily_summary == "off":
        return None
    return Daily(time.fromisoformat(settings.alert_daily_summary), ZoneInfo(settings.alert_timezone))
