"""How the systems around the hub are reached, from resolved settings: Moodle, ELM, Zoho, the SIS."""

from pydantic import SecretStr

from connectors.moodle.settings import MoodleSettings
from infra.errors import Stop
from infra.settings import Settings
from producers.elm.settings import ElmFeedSettings
from producers.sis.settings import OneRosterSettings
from producers.zoho.settings import ZohoSettings
from schemas.ids import TenantId


def moodle_of(settings: Settings) -> MoodleSettings:
    """Return how the Moodle site is reached."""
    return MoodleSettings(
        url=settings.moodle_url or "",
        token=settings.moodle_api_token or SecretStr(""),
        timeout=settings.moodle_timeout,
        batch_size=settings.moodle_batch_size,
        max_input_vars=settings.moodle_max_input_vars,
        parallel=settings.moodle_parallel,
        rate_limit=settings.moodle_rate_limit,
        max_retries=settings.moodle_rate_limit_max_retries,
        base_delay_ms=settings.moodle_rate_limit_base_delay_ms,
        max_delay_ms=settings.moodle_rate_limit_max_delay_ms,
        tls_minimum=settings.moodle_tls_minimum,
    )


def zoho_of(settings: Settings) -> ZohoSettings:
    """Return how Zoho reaches the hub, and the hub Zoho."""
    return ZohoSettings(
        tenant=TenantId(settings.default_tenant_id),
        webhook_secret=_plain(settings.zoho_webhook_secret),
        webhook_secrets={
            tenant: secret.get_secret_value() for tenant, secret in settings.zoho_webhook_secrets.items()
        },
        webhook_unsigned=settings.zoho_webhook_unsigned,
        timezone=settings.zoho_timezone,
        client_id=settings.zoho_client_id,
        client_secret=_plain(settings.zoho_client_secret) or "",
        refresh_token=_plain(settings.zoho_refresh_token) or "",
        accounts_url=settings.zoho_accounts_url,
        api_url=settings.zoho_api_url,
    )


def sis_of(settings: Settings) -> OneRosterSettings:
    """Return where the SIS is and how it is asked.

    Raises:
        Stop: it is not set.
    """
    if settings.sis_url is None or settings.sis_token_url is None:
        msg = "set SIS_URL and SIS_TOKEN_URL, SIS_CLIENT_ID and SIS_CLIENT_SECRET to pull from a SIS"
        raise Stop(msg)
    return OneRosterSettings(
        url=settings.sis_url,
        token_url=settings.sis_token_url,
        client_id=settings.sis_client_id,
        client_secret=_plain(settings.sis_client_secret) or "",
        tenant=TenantId(settings.default_tenant_id),
        release=settings.sis_oneroster_release,
        scope=settings.sis_scope,
        client_auth=settings.sis_client_auth,
        page_size=settings.sis_page_size,
        overlap_minutes=settings.sis_overlap_minutes,
        timezone=settings.sis_timezone,
    )


def feed_of(settings: Settings) -> ElmFeedSettings:
    """Return where ELM's feed is and how it is polled."""
    return ElmFeedSettings(
        url=settings.elm_api_url or "",
        token=settings.elm_api_token.get_secret_value() if settings.elm_api_token else "",
        tenant=TenantId(settings.default_tenant_id),
        release=settings.elm_feed,
        lookback_minutes=settings.elm_lookback_minutes,
        overlap_ids=settings.elm_overlap,
        interval_seconds=settings.elm_poll_interval,
        page_size=settings.elm_page_size,
        timezone=settings.elm_timezone,
        field_names=settings.elm_field_names,
        ignored_courses=settings.elm_ignored_courses,
        create_courses=settings.elm_create_courses,
        timeout=settings.elm_timeout,
    )


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
