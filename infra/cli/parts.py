"""Small parts that several commands put together from resolved settings (every address is set)."""

from pydantic import SecretStr

from connectors.moodle.settings import MoodleSettings
from infra.mapping import Mapping, load, parse
from infra.registry import Registry
from infra.settings import KafkaConfig, Settings
from infra.stage import Stage
from processors.topology import topology
from producers.elm.settings import ElmFeedSettings
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


def mapping_of(settings: Settings) -> Mapping:
    """Return the rules of the mapping file, or the built-in ones where none is named.

    Raises:
        MappingError: the file cannot be used; the text names line and key.
    """
    target, prefix = Target(settings.moodle_target), settings.moodle_username_prefix
    if settings.mapping_file is None:
        return parse("", target=target, username_prefix=prefix)
    return load(settings.mapping_file, target, username_prefix=prefix)


def sites_of(settings: Settings) -> Sites:
    """Return the topics of the hub and of all its Moodle sites, under their names in the cluster."""
    targets = dict.fromkeys((Target(settings.moodle_target), *mapping_of(settings).targets))
    return sites(targets, settings.topic_prefix)


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


def moodle_sink_group(settings: Settings) -> str:
    """Return the consumer group of the Moodle sink, without prefix; every Moodle site has its own."""
    return f"moodle-sink.{settings.moodle_target}"
