"""The settings of the dashboard."""

from datetime import timedelta

from infra.errors import Stop
from infra.settings import Settings
from producers.web.dashboard.roles import Role
from producers.web.dashboard.settings import DashboardSettings, Grant, OidcSettings, is_safe_url
from schemas.ids import TenantId


def dashboard_settings(settings: Settings) -> DashboardSettings:
    """Return what the dashboard needs to know.

    Raises:
        Stop: the settings of the identity provider cannot be used.
    """
    return DashboardSettings(
        public_url=public_url(settings),
        default_tenant=TenantId(settings.default_tenant_id),
        idle=timedelta(minutes=settings.dashboard_idle_minutes),
        lifetime=timedelta(hours=settings.dashboard_session_hours),
        proxies=settings.api_proxies,
        local=settings.dashboard_passwords,
        oidc=_oidc(settings),
    )


def public_url(settings: Settings) -> str:
    """Return the address by which browsers reach the dashboard.

    Without one, that on which the application listens: plainly if that is this machine alone.
    """
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    place = f"{host}:{settings.api_port}"
    plain = f"http://{place}"
    named = (settings.api_public_url or "").rstrip("/")
    return named or (plain if is_safe_url(plain) else f"https://{place}")


def _oidc(settings: Settings) -> OidcSettings | None:
    if settings.oidc_issuer is None:
        return None
    if not settings.oidc_client_id or not settings.oidc_role_map:
        raise Stop("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_ROLE_MAP, without which nobody could log in")
    if not is_safe_url(settings.oidc_issuer):
        raise Stop("OIDC_ISSUER has to be reached by https")
    secret = settings.oidc_client_secret
    return OidcSettings(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=secret.get_secret_value() if secret else "",
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
        roles={
            group: Grant(Role(one.role), tuple(map(TenantId, one.tenants)))
            for group, one in settings.oidc_role_map.items()
        },
        scopes=settings.oidc_scopes,
        label=settings.oidc_label,
    )
