"""Writes the reference pages from the code: settings, topics, reason codes, and the picture of the topology.

``python -m infra.cli.reference`` writes them into ``docs``; a test fails while they differ from the code.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infra.cli.api_reference import api_page
from infra.cli.stages import Flow, flows
from infra.mapping import parse
from infra.metrics import METRICS
from infra.settings import reference as settings_reference
from processors.topology import topology
from schemas.ids import Target
from schemas.reasons import EXPLANATIONS
from schemas.topics import PARTITIONS, TOPICS, Topic, changelog, sites

DOCS = Path(__file__).resolve().parents[2] / "docs"
_TARGET = Target("{target}")


def pages() -> Mapping[Path, str]:
    """Return the text of every generated page by its path under ``docs``."""
    return {
        Path("reference/settings.md"): _settings(),
        Path("reference/topics.md"): _topics(),
        Path("reference/reasons.md"): _reasons(),
        Path("reference/topology.md"): _topology(),
        Path("reference/api.md"): _api(),
        Path("reference/metrics.md"): _metrics(),
    }


def picture(parts: Mapping[str, Flow]) -> str:
    """Return the flow of records through ``parts`` as a Mermaid diagram."""
    topics = dict.fromkeys(topic.name for flow in parts.values() for topic in (*flow.reads, *flow.writes))
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {_id(name)}[/"{name}"/]' for name in topics]
    lines += [f'    {_id(name)}["{name}"]' for name in parts]
    for name, flow in parts.items():
        lines += [f"    {_id(topic.name)} --> {_id(name)}" for topic in flow.reads]
        lines += [f"    {_id(name)} --> {_id(topic.name)}" for topic in flow.writes]
    return "\n".join([*lines, "```"])


def _id(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)


def _topology() -> str:
    where = sites([_TARGET])
    shared, parts = where.shared, flows(topology(parse(""), where), where)
    # What comes of its counting is nobody's to wait for, so it is no part of the flow elsewhere.
    parts["analytics"] = Flow((shared.calls, shared.results, shared.callback_results), (shared.rates,))
    return _page("Topology", "The flow of records through topics and processes.", [picture(parts)])


def _api() -> str:
    about = (
        "The addresses of the [HTTP application](../http-api.md) and their types, as in `/openapi.json`. "
        "Each is served under `/v1` and `/api/v1`. `X-Tenant-ID` names the tenant wherever a key is needed. "
        "Errors are [problems](../http-api.md#errors)."
    )
    return _page("HTTP API", about, api_page())


def _settings() -> str:
    rows = [
        (f"`{name}`", f"`{default}`" if default else "", text) for name, default, text in settings_reference()
    ]
    about = (
        "Read once at the start: environment variables over the TOML file (`rosterhub.toml`, or the one that "
        "`ROSTERHUB_CONFIG` names; names there in lower case) over the defaults."
    )
    return _page("Settings", about, _table(("Variable", "Default", "Meaning"), rows))


def _topics() -> str:
    stages = topology(parse(""), sites([_TARGET]))
    rows = [
        (
            f"`{topic.name}`",
            f"`{topic.key}`",
            f"[{topic.schema}](../../schemas/avro/{topic.schema})" if topic.schema else _unregistered(topic),
            _kept(topic),
            topic.about,
        )
        for topic in (*TOPICS, *(changelog(stage.name) for stage in stages))
    ]
    about = (
        f"All topics have {PARTITIONS} partitions unless `TOPIC_PARTITIONS` says otherwise. Values are Avro "
        "in Confluent's wire format, subject `<topic>-value`, compatibility FULL_TRANSITIVE. Headers follow "
        "CloudEvents' binary mode, except on internal topics. Read with `isolation.level=read_committed`."
    )
    return _page("Topics", about, _table(("Topic", "Key", "Schema", "Kept", "Holds"), rows))


def _kept(topic: Topic) -> str:
    days = f"{topic.days} days" if topic.days else ""
    return ", ".join(filter(None, ["compacted" if topic.compacted else "", days])) or "for ever"


def _unregistered(topic: Topic) -> str:
    return "[the message's](../dead-letters.md)" if topic.holds_dead_letters else "internal"


def _reasons() -> str:
    rows = [(f"`{reason}`", text) for reason, text in EXPLANATIONS.items()]
    about = "Why a command, a callback or a message did not simply succeed."
    return _page("Reason codes", about, _table(("Code", "Meaning"), rows))


def _metrics() -> str:
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.unit,
            metric.about,
            metric.shown_by,
        )
        for metric in METRICS
    ]
    about = (
        "What `/metrics` of each process shows, beside what the Prometheus client tells of the process "
        "itself (`process_*`, `python_*`). A histogram has `_bucket`, `_sum` and `_count`. Labels have few "
        "values, and none is personal. [Metrics](../metrics.md) tells how Prometheus finds the processes."
    )
    return _page("Metrics", about, _table(("Name", "Type", "Labels", "Unit", "Meaning", "Shown by"), rows))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)]


def _page(title: str, about: str, parts: Sequence[str]) -> str:
    note = "<!-- Written by `python -m infra.cli.reference`; edit the code instead. -->"
    return "\n\n".join([f"# {title}", note, about, *parts]) + "\n"


def main() -> None:
    """Write all pages."""
    for path, text in pages().items():
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
