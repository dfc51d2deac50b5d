"""Settings of the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from producers.web.dashboard.roles import Role
from schemas.ids import TenantId

_NO_ROLES: Final[Mapping[str, "Grant"]] = {}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a group of the identity provider stands for.

    Attributes:
        role: of its members.
        tenants: whose records they see; empty: those of the hub's default tenant.
    """

    role: Role
    tenants: tuple[TenantId, ...] = ()


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """How people log in by an identity provider.

    Attributes:
        issuer: its address; its configuration is found below it.
        client_id: by which it knows the hub.
        client_secret: of that client; empty: a public client.
        name_claim: the claim that names a user in the hub.
        groups_claim: the claim with the groups; dots lead into objects, such as ``realm_access.roles``.
        roles: what the groups stand for.
        scopes: that are asked for.
        label: of the button by which people log in.
    """

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: Mapping[str, Grant] = field(default_factory=lambda: dict(_NO_ROLES))
    scopes: str = "openid profile"
    label: str = "Log in with your organisation"


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """What the dashboard needs to know.

    Attributes:
        public_url: the address by which browsers reach it, without path.
        default_tenant: the hub's own.
        idle: a session ends that was not used for so long.
        lifetime: a session ends after so long, used or not.
        proxies: reverse proxies before the application; the address of a browser is then the one that the
            outermost of them has noted in ``X-Forwarded-For``.
        local: whether people may log in by a password.
        oidc: how they log in by an identity provider; none: they do not.
    """

    public_url: str
    default_tenant: TenantId
    idle: timedelta = timedelta(hours=1)
    lifetime: timedelta = timedelta(hours=12)
    proxies: int = 0
    local: bool = True
    oidc: OidcSettings | None = None

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by https, so that cookies may demand it."""
        return urlsplit(self.public_url).scheme == "https"

    @property
    def origin(self) -> str:
        """What browsers call the place that the pages come from."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"


def is_safe_url(url: str) -> bool:
    """Tell whether passwords and cookies may go by ``url``: by https, or without leaving the machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
