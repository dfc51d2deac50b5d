"""Settings of the OneRoster pull."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from infra.mapping import Identity
from producers.sis.rules import Rules, usual_identity, zone
from schemas.ids import TenantId

Release = Literal["1.1", "1.2"]
ClientAuth = Literal["basic", "body"]
ROOTS: Final[dict[Release, str]] = {
    "1.1": "/ims/oneroster/v1p1",
    "1.2": "/ims/oneroster/rostering/v1p2",
}
_SCOPE: Final = "https://purl.imsglobal.org/spec/or/{version}/scope/roster-core.readonly"
SCOPES: Final[dict[Release, str]] = {
    "1.1": _SCOPE.format(version="v1p1"),
    "1.2": _SCOPE.format(version="v1p2"),
}
"""Scopes of rostering data without demographics, as the specifications name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRosterSettings:
    """Where the SIS is and how it is asked.

    Attributes:
        url: of the service; without a path the usual one of the release is added.
        token_url: where access tokens are given (OAuth 2 client credentials).
        client_id: of this hub at the SIS.
        client_secret: its secret.
        tenant: whose SIS it is.
        release: of OneRoster.
        scope: asked for with the token; none: that of rostering; empty: none at all.
        client_auth: whether id and secret go in the header (``basic``) or in the body.
        page_size: records asked for at once.
        overlap_minutes: what was last changed so shortly before the newest record is read again.
        timezone: IANA name of the zone in which days of the SIS begin.
        timeout: seconds for one request.
        patience: seconds that a pull may wait in all for a SIS that is busy or failing.
        backoff_seconds: longest first wait before a repeat; doubled each time.
    """

    url: str
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    tenant: TenantId
    release: Release = "1.2"
    scope: str | None = None
    client_auth: ClientAuth = "basic"
    page_size: int = 1_000
    overlap_minutes: int = 10
    timezone: str = "UTC"
    timeout: float = 60.0
    patience: float = 300.0
    backoff_seconds: float = 1.0

    @property
    def root(self) -> str:
        """Address under which the collections are."""
        address = self.url.rstrip("/")
        has_path = "/" in address.partition("://")[2]
        return address if has_path else address + ROOTS[self.release]

    @property
    def asked_scope(self) -> str:
        """The scope that is asked for."""
        return SCOPES[self.release] if self.scope is None else self.scope

    @property
    def overlap(self) -> timedelta:
        """The overlap in time."""
        return timedelta(minutes=self.overlap_minutes)

    def rules(self, identity: Identity | None = None) -> Rules:
        """Return how records are read."""
        return Rules(self.tenant, identity or usual_identity(), zone(self.timezone))
