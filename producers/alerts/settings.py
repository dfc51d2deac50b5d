"""What the role that watches the hub needs to know."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from producers.alerts.channels import Channel
from producers.alerts.daily import Daily
from producers.alerts.facts import Limits
from producers.alerts.notices import Frame
from schemas.ids import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """How the hub is watched, and who is told.

    Attributes:
        database_url: of the hub's database.
        tenant: the hub's own, to which belongs what is of none.
        channels: that are told.
        frame: of their messages.
        limits: when something is an alert.
        calm: so long an incident must not have been found before it is over.
        daily: when the daily summary is made; none: never.
        seconds: from one look to the next.
    """

    database_url: str = field(repr=False)
    tenant: TenantId
    channels: Sequence[Channel] = ()
    frame: Frame = field(default_factory=Frame)
    limits: Limits = field(default_factory=Limits)
    calm: timedelta = timedelta(minutes=5)
    daily: Daily | None = None
    seconds: float = 30.0
