"""Which features of Moodle the settings and the mapping ask for, and so which web service functions."""

from collections.abc import Mapping
from typing import Final

from connectors.moodle_sink.settings import Feature
from infra.cli.parts import mapping_of
from infra.mapping.model import Metadata, OnDelete, SourceRules
from infra.settings import Settings
from producers.elm.to_events import SOURCE as ELM
from producers.sis.records import SOURCE as SIS
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.events import EnrolmentStatus

_WITHOUT_SECTIONS: Final = frozenset({ELM, ZOHO})


def sources_in_use(settings: Settings) -> tuple[str, ...]:
    """Return the sources that are connected, and those for which the mapping file has rules of its own.

    A source that only pushes or is imported is told by nothing else than such rules.
    """
    webhooks = (settings.zoho_webhook_secret, settings.zoho_webhook_secrets, settings.zoho_webhook_unsigned)
    connected = {
        ELM: True,
        ZOHO: bool(settings.zoho_client_id or any(webhooks)),
        SIS: settings.sis_url is not None,
    }
    return tuple(sorted({name for name, is_set in connected.items() if is_set} | _with_rules(settings)))


def features(settings: Settings, site: str) -> frozenset[Feature]:
    """Return what the Moodle site ``site`` is asked for beyond accounts, courses and enrolments.

    Args:
        settings: of the hub, not those at the site: under these, tenants without a site would be there.
        site: name of the site.

    Raises:
        MappingError: the mapping file cannot be used.
    """
    mapping, used = mapping_of(settings), sources_in_use(settings)
    here = [rules for rules in (mapping.general, *mapping.tenants.values()) if rules.target == site]
    found = {
        feature
        for tenant in here
        for source in used
        for feature, is_wanted in _wanted(source, tenant.source(source)).items()
        if is_wanted
    }
    return frozenset(found | ({Feature.GROUPS} if settings.moodle_groups else set()))


def _wanted(source: str, rules: SourceRules) -> Mapping[Feature, bool]:
    course, enrolment, archive = rules.course, rules.enrolment, rules.course.archive
    has_removed = bool(enrolment.removed) or enrolment.otherwise is EnrolmentStatus.REMOVED
    return {
        Feature.CATEGORIES: bool(course.categories or (archive and archive.category)),
        # A class of Zoho may name an existing Moodle course, which is then given its id number.
        Feature.COURSE_UPDATES: course.metadata is not Metadata.NEVER
        or archive is not None
        or source == ZOHO,
        Feature.GROUPS: enrolment.groups and source not in _WITHOUT_SECTIONS,
        Feature.UNENROLMENT: enrolment.on_delete is OnDelete.REMOVE
        or (has_removed and enrolment.on_removed is OnDelete.REMOVE),
    }


def _with_rules(settings: Settings) -> set[str]:
    mapping = mapping_of(settings)
    usual = mapping_of(settings.model_copy(update={"mapping_file": None})).general.sources
    return {
        name
        for tenant in (mapping.general, *mapping.tenants.values())
        for name, rules in tenant.sources.items()
        if rules != usual.get(name)
    }
