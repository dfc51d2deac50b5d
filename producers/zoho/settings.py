"""Settings of everything of Zoho."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.ids import TenantId

ACCOUNTS: Final = "https://accounts.zoho.com"
API: Final = "https://www.zohoapis.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZohoSettings:
    """How Zoho reaches the hub, and the hub Zoho.

    Attributes:
        tenant: whose CRM it is, and who sends webhooks that name no tenant.
        webhook_secret: signs the webhooks of ``tenant``; none: they are refused.
        webhook_secrets: the same of further tenants.
        webhook_unsigned: webhooks are accepted without a signature; for closed networks only.
        timezone: IANA name of the zone in which Zoho's days begin.
        client_id: of the OAuth client; none: the CRM is not asked.
        client_secret: of the OAuth client.
        refresh_token: of the OAuth client; from it access tokens are made.
        accounts_url: base address of Zoho's accounts server, which differs between its regions.
        api_url: base address of Zoho's API, likewise.
        page_size: records asked for at once; Zoho allows 200.
        timeout: seconds for one request.
        attempts: how often one request is tried before the pull fails or the webhook waits.
        backoff_seconds: first wait before a repeat; doubled each time, with jitter.
        longest_wait: seconds; a longer ``Retry-After`` is not waited for inside a request.
        overlap_minutes: a pull of changes asks for so much more than since the last one.
        parallel: records fetched by id at the same time.
        retry_interval: seconds; longest wait before a webhook's record is fetched again.
        sweep_interval: seconds between two looks for parked records that need not wait any more.
    """

    tenant: TenantId
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhook_unsigned: bool = False
    timezone: str = "UTC"
    client_id: str | None = None
    client_secret: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    accounts_url: str = ACCOUNTS
    api_url: str = API
    page_size: int = 200
    timeout: float = 30.0
    attempts: int = 5
    backoff_seconds: float = 1.0
    longest_wait: float = 120.0
    overlap_minutes: int = 10
    parallel: int = 4
    retry_interval: float = 300.0
    sweep_interval: float = 30.0

    def secret_of(self, tenant: TenantId) -> str | None:
        """Return the secret that signs the webhooks of ``tenant``, if it has one."""
        return self.webhook_secret if tenant == self.tenant else self.webhook_secrets.get(tenant)

    def knows(self, tenant: TenantId) -> bool:
        """Tell whether webhooks of ``tenant`` may come at all."""
        return tenant == self.tenant or tenant in self.webhook_secrets
