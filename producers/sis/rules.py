"""How records of a SIS are read for one tenant."""

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from infra.errors import Stop
from infra.mapping import Identity, RuleIdentity, TenantRules
from producers.sis.records import SOURCE
from schemas.ids import TenantId

_UTC = ZoneInfo("UTC")


def usual_identity() -> Identity:
    """Return the built-in rule: a person is known by ``unique_id``, or else ``id``; a course by ``id``."""
    return RuleIdentity(TenantRules(), SOURCE)


@dataclass(frozen=True, slots=True)
class Rules:
    """How records are read.

    Attributes:
        tenant: whose SIS it is.
        identity: makes the ids of people and courses.
        zone: in which days of the SIS begin.
    """

    tenant: TenantId
    identity: Identity = field(default_factory=usual_identity)
    zone: ZoneInfo = _UTC


def zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        Stop: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        msg = f"there is no time zone {name}"
        raise Stop(msg) from None
