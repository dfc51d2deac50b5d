"""Small parts that several commands put together from resolved settings (every address is set)."""

from infra.errors import Stop
from infra.mapping import Mapping, load, parse
from infra.registry import Registry
from infra.settings import KafkaConfig, Settings
from schemas.ids import Target, TenantId
from schemas.topics import Sites, TopicSet, sites

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


def tenant_at_site(settings: Settings) -> TenantId:
    """Return the tenant that what is observed at the Moodle site belongs to."""
    named = mapping_of(settings).tenants.items()
    own = (tenant for tenant, rules in named if rules.target == settings.moodle_target)
    return next(own, TenantId(settings.default_tenant_id))
