"""The analytics stream."""

from infra.cli.parts import kafka_of, registry_of, sites_of
from infra.cli.roles.context import Context
from infra.codec import Codec
from processors.analytics.worker import AnalyticsSettings, run_analytics


def run(context: Context) -> None:
    """Count calls and results by the minute."""
    settings, role, where = context.settings, context.status.role, sites_of(context.settings)
    results = [topics.results for topics in where.by_target.values()]
    analytics = AnalyticsSettings(
        kafka=kafka_of(settings),
        codec=Codec(registry_of(settings)),
        inputs=[where.shared.calls, where.shared.callback_results, *results],
        rates=where.shared.rates,
        group=settings.topic_prefix + role,
        member=f"{settings.topic_prefix}{role}.{context.slot}",
        folder=settings.data_dir / "analytics",
    )
    run_analytics(analytics, context.stop, context.status)
