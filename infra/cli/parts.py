"""Small parts that several commands put together from resolved settings (every address is set)."""

from importlib.metadata import version

from pydantic import SecretStr

from connectors.moodle.settings import MoodleSettings
from connectors.read_model.project import ProjectorSettings
from infra.cli.state_rows import changes_of
from infra.codec import Codec
from infra.errors import Stop
from infra.mapping import Mapping, load, parse
from infra.registry import Registry
from infra.settings import KafkaConfig, Settings
from infra.stage import Stage
from processors.topology import topology
from producers.elm.settings import ElmFeedSettings
from producers.sis.settings import OneRosterSettings
from producers.web.settings import WebSettings
from producers.zoho.settings import ZohoSettings
from schemas.ids import Target, TenantId
from schemas.topics import Sites, Topic, TopicSet, changelog, sites

_CRITICAL = 2
"""Of the levels of syslog."""


def kafka_of(settings: Settings) -> KafkaConfig:
    """Return how Kafka's clients reach the brokers, and that they write no lines of their own.

    What they have to say comes as log events; their own lines, one for every try to connect, are no JSON.
    """
    return settings.kafka(settings.kafka_bootstrap_servers or "") | {"log_level": _CRITICAL}


def registry_of(settings: Settings) -> Registry:
    """Return the client of the schema registry."""
    info = settings.schema_registry_user_info
    return Registry(settings.schema_registry_url or "", info.get_secret_value() if info else None)


def database_of(settings: Settings) -> str:
    """Return the address of the database, with its password."""
    return settings.database_url.get_secret_value() if settings.database_url else ""


def tenant_of(settings: Settings, named: str | None = None) -> TenantId:
    """Return the tenant that is meant: the one named, else the default one."""
    return TenantId(named or settings.default_tenant_id)


def mapping_of(settings: Settings) -> Mapping:
    """Return the rules of the mapping file, or the built-in ones where none is named.

    Raises:
        MappingError: the file cannot be used; the text names line and key.
    """
    target, prefix = Target(settings.first_target), settings.moodle_username_prefix
    if settings.mapping_file is None:
        return parse("", target=target, username_prefix=prefix)
    return load(settings.mapping_file, target, username_prefix=prefix)


def check_sites(settings: Settings) -> None:
    """See that every Moodle site of the mapping can be reached.

    Raises:
        Stop: settings name no such site.
    """
    known = {settings.first_target, *settings.moodle_sites}
    if unknown := sorted(set(mapping_of(settings).targets) - known):
        names = ", ".join(sorted(known))
        problem = f"the mapping file names the Moodle site {', '.join(unknown)}; MOODLE_SITES knows {names}"
        raise Stop(problem)


def sites_of(settings: Settings) -> Sites:
    """Return the topics of the hub and of all its Moodle sites, under their names in the cluster."""
    targets = dict.fromkeys((Target(settings.first_target), *mapping_of(settings).targets))
    further = map(Target, settings.moodle_sites)
    return sites(dict.fromkeys((*targets, *further)), settings.topic_prefix)


def topics_of(settings: Settings) -> TopicSet:
    """Return the topics of the hub and of its first Moodle site."""
    return sites_of(settings).shared


def stages_of(settings: Settings) -> tuple[Stage, ...]:
    """Return the stages of the hub."""
    return topology(mapping_of(settings), sites_of(settings))


def changelog_of(settings: Settings, stage: Stage) -> Topic:
    """Return the changelog of ``stage`` under its name in the cluster."""
    return changelog(stage.name).prefixed(settings.topic_prefix)


def all_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return every topic of the hub under its name in the cluster, changelogs included."""
    return sites_of(settings).all() + tuple(changelog_of(settings, stage) for stage in stages_of(settings))


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


def web_settings_of(settings: Settings) -> WebSettings:
    """Return what the HTTP application needs to know."""
    return WebSettings(
        host=settings.api_host,
        port=settings.api_port,
        max_body_mb=settings.api_max_body_mb,
        rate_limit=settings.api_rate_limit,
        idempotency_hours=settings.api_idempotency_hours,
        default_tenant=TenantId(settings.default_tenant_id),
        version=version("rosterhub"),
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


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


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


def tenant_at_site(settings: Settings) -> TenantId:
    """Return the tenant that what is observed at the Moodle site belongs to."""
    named = mapping_of(settings).tenants.items()
    own = (tenant for tenant, rules in named if rules.target == settings.moodle_target)
    return next(own, TenantId(settings.default_tenant_id))


def moodle_sink_group(settings: Settings) -> str:
    """Return the consumer group of the Moodle sink, without prefix; every Moodle site has its own."""
    return f"moodle-sink.{settings.moodle_target}"


def projector_of(settings: Settings) -> ProjectorSettings:
    """Return what the projector of the read model needs."""
    return ProjectorSettings(
        database_url=database_of(settings),
        kafka=kafka_of(settings),
        codec=Codec(registry_of(settings)),
        topics=sites_of(settings).all(),
        changes=changes_of(settings),
    )
