"""The HTTP application."""

from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version

from sqlalchemy import Engine

from infra.cli.dashboard import dashboard_settings
from infra.cli.flow import flow_parts, looking
from infra.cli.parts import database_of, kafka_of, mapping_of, registry_of, sites_of, topics_of
from infra.cli.roles.context import Context
from infra.cli.sides import asking
from infra.cli.systems import feed_of, zoho_of
from infra.codec import Codec
from infra.mapping import Identity, RuleIdentity
from infra.scan import Onlooker
from infra.settings import Settings
from producers.remedies import Means
from producers.sis.records import SOURCE as SIS
from producers.sis.routes import sis_routes
from producers.sis.rules import Rules as SisRules
from producers.sis.rules import zone
from producers.web.admin.routes import admin_of
from producers.web.dashboard.page import Dashboard
from producers.web.probes import Brokers, probes
from producers.web.readiness import Probe
from producers.web.serve import Served, run_api
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from producers.zoho.routes import ZohoWeb
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.ids import TenantId

_LOOK_SECONDS = 3.0


def run(context: Context) -> None:
    """Serve the webhooks, the push of the SIS, the admin API and the probes."""
    settings, mapping = context.settings, mapping_of(context.settings)

    def identity_of(tenant: TenantId) -> Identity:
        return RuleIdentity(mapping.of(tenant), ZOHO)

    def rules_of(tenant: TenantId) -> SisRules:
        return SisRules(tenant, RuleIdentity(mapping.of(tenant), SIS), zone(settings.sis_timezone))

    zoho = ZohoWeb(zoho_of(settings), identity_of)

    def serving(services: WebServices) -> Served:
        means = Means(services.engine, kafka_of(settings), Codec(registry_of(settings)), sites_of(settings))
        cron, default = settings.moodle_sync_cron_secret, TenantId(settings.default_tenant_id)
        secret = cron.get_secret_value() if cron else None
        parts = flow_parts(settings)
        flow = (parts, looking(parts, onlooker))
        admin = admin_of(means, default, secret, asking(settings), flow, feed_of(settings))
        routes = [*zoho.routes(services), *sis_routes(rules_of), *admin.routes]
        wanted = dashboard_settings(settings) if settings.dashboard else None
        return Served(routes, Dashboard(wanted, admin, services.engine) if wanted else None)

    web, background = _web_settings(settings), [zoho.background]
    with (
        closing(Brokers(kafka_of(settings))) as brokers,
        Onlooker(kafka_of(settings), _LOOK_SECONDS) as onlooker,
    ):

        def probes_of(pool: Engine) -> Sequence[Probe]:
            return probes(pool, brokers, registry_of(settings), topics_of(settings).audit)

        database, stop = database_of(settings), context.stop
        run_api(web, database, serving, stop, context.status, background, probes_of)


def _web_settings(settings: Settings) -> WebSettings:
    return WebSettings(
        host=settings.api_host,
        port=settings.api_port,
        max_body_mb=settings.api_max_body_mb,
        rate_limit=settings.api_rate_limit,
        idempotency_hours=settings.api_idempotency_hours,
        default_tenant=TenantId(settings.default_tenant_id),
        version=version("rosterhub"),
    )
