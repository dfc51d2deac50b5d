"""The sink that tells ELM who has completed what."""

from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.sink import ElmSink
from infra.cli.roles.context import Context
from infra.cli.roles.engines import engine_of, sink_of
from infra.cli.roles.noting import noting
from infra.engine import run_sink
from schemas.calls import System
from schemas.ids import Target


def run(context: Context) -> None:
    """Post the callbacks to ELM, and write their results."""
    settings = context.settings
    token = settings.elm_completion_api_token or settings.elm_api_token
    with noting(context, System.ELM, Target("elm")) as note:
        sink = ElmSink(
            ElmSinkSettings(
                url=settings.elm_completion_api_url or "",
                token=token.get_secret_value() if token else "",
            ),
            prefix=settings.topic_prefix,
            on_call=note,
        )
        run_sink(sink, engine_of(context), context.stop, sink_of(context), context.status)
