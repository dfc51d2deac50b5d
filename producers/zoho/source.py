"""What all ways in from Zoho share: the kinds of each tenant, and how records are taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from infra.mapping import Identity
from producers.candidates import Answer, Origin
from producers.intake import Also, Intake, nothing
from producers.linked import Item, Kinds, LinkedKind, take_items, waiting_tenants, wake_all
from producers.zoho.kinds import by_kept_kind, zoho_kinds
from producers.zoho.to_events import SOURCE, ZohoRules
from schemas.ids import TenantId

IdentityOf = Callable[[TenantId], Identity]


class Received(NamedTuple):
    """One raw record: the name of its kind in the sync API, itself, and when it came (UTC)."""

    kind: str
    raw: object
    at: datetime


@dataclass(frozen=True, slots=True)
class _Kinds:
    named: dict[str, LinkedKind]
    kept: Kinds


@dataclass(frozen=True, slots=True)
class ZohoSource:
    """Takes Zoho's records of any tenant in. One object serves all threads of a process.

    Attributes:
        intake: takes them.
        identity_of: gives the rules for the ids of a tenant.
        timezone: IANA name of the zone in which Zoho's days begin.
    """

    intake: Intake
    identity_of: IdentityOf
    timezone: str = "UTC"
    _kinds: dict[TenantId, _Kinds] = field(default_factory=dict)

    def take(self, tenant: TenantId, received: Sequence[Received], also: Also = nothing) -> list[Answer]:
        """Take records of any kinds in one transaction; one answer each, in order.

        Raises:
            RetryLater: the database is away; nothing was stored.
        """
        kinds = self._of(tenant)
        items = [Item(kinds.named[each.kind], each.raw, each.at) for each in received]
        return take_items(self.intake, self.origin(tenant), items, kinds.kept, also)

    def wake(self) -> int:
        """Take the parked records of all tenants that need not wait any more; return how many there were.

        Raises:
            RetryLater: the database is away.
        """
        origins = waiting_tenants(self.intake.engine, SOURCE)
        return sum(wake_all(self.intake, origin, self._of(origin.tenant).kept) for origin in origins)

    def origin(self, tenant: TenantId) -> Origin:
        """Return the origin of the records of ``tenant``."""
        return Origin(tenant, SOURCE)

    def kind(self, tenant: TenantId, name: str) -> LinkedKind:
        """Return how records of the kind ``name`` are read."""
        return self._of(tenant).named[name]

    def _of(self, tenant: TenantId) -> _Kinds:
        if tenant not in self._kinds:
            rules = ZohoRules(tenant, self.identity_of(tenant), ZoneInfo(self.timezone))
            named = zoho_kinds(rules)
            self._kinds[tenant] = _Kinds(named, by_kept_kind(named))
        return self._kinds[tenant]
