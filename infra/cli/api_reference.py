"""The reference page of the HTTP application, from its OpenAPI document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from infra.codec import Codec
from infra.db.connect import engine
from infra.mapping import RuleIdentity, parse
from infra.registry import Registry
from producers.remedies import Means
from producers.sis.records import SOURCE as SIS
from producers.sis.routes import sis_routes
from producers.sis.rules import Rules as SisRules
from producers.web.admin.routes import admin_of
from producers.web.openapi import document
from producers.web.routes import Route
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from producers.zoho.routes import ZohoWeb
from producers.zoho.settings import ZohoSettings
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.ids import Target, TenantId
from schemas.topics import sites

_TENANT: Final = TenantId("default")
_NOWHERE: Final = "postgresql://localhost/none"
Json = Mapping[str, Any]


def api_page() -> Sequence[str]:
    """Return the parts of the page: a section for each address, then one for each type."""
    found: Json = msgspec.json.decode(msgspec.json.encode(document(_routes(), WebSettings())))
    parts: list[str] = []
    for tag in found["tags"]:
        parts += [f"## {tag['name'].capitalize()}", *_addresses(found["paths"], tag["name"])]
    parts.append("## Types")
    for name, schema in sorted(found["components"]["schemas"].items(), key=lambda one: _short(one[0])):
        parts += _type(name, schema)
    return parts


def _routes() -> list[Route]:
    """Return the routes as the role `api` puts them together; nothing is connected."""
    rules = parse("").of(_TENANT)
    services = WebServices(engine(_NOWHERE), WebSettings())
    means = Means(services.engine, {}, Codec(Registry("")), sites([Target("default")]))
    zoho = ZohoWeb(ZohoSettings(tenant=_TENANT), lambda _: RuleIdentity(rules, ZOHO))
    sis = sis_routes(lambda tenant: SisRules(tenant, RuleIdentity(rules, SIS)))
    return [*zoho.routes(services), *sis, *admin_of(means, _TENANT).routes]


def _addresses(paths: Json, tag: str) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield f"### `{method.upper()} /v1{path}`"
                yield _about(operation)
                yield from _parameters(operation.get("parameters", ()))
                yield _bodies(operation)


def _about(operation: Json) -> str:
    without = "Needs no key." if "liveness" in operation["tags"] else "The caller proves itself as told here."
    key = "" if operation["security"] else without
    texts = (operation["summary"] + ".", operation.get("description", ""), key)
    return "\n\n".join(text for text in texts if text)


def _parameters(parameters: Sequence[Json]) -> Iterator[str]:
    own = [one for one in parameters if one["name"] != "X-Tenant-ID"]
    if own:
        rows = (
            (f"`{one['name']}`", one["in"], _kind(one["schema"]), one.get("description", "")) for one in own
        )
        yield _table(("Parameter", "In", "Type", "Meaning"), rows)


def _bodies(operation: Json) -> str:
    lines = []
    if "requestBody" in operation:
        lines.append(f"Body: {_kind(operation['requestBody']['content']['application/json']['schema'])}.")
    done = operation["responses"]["200"].get("content", {})
    answers = [_kind(one["schema"]) if name == "application/json" else name for name, one in done.items()]
    lines.append(f"Answer: {' or '.join(answers) or 'empty'}.")
    if errors := [status for status in operation["responses"] if status != "200"]:
        lines.append(f"Errors: {', '.join(errors)}.")
    return " ".join(lines)


def _type(name: str, schema: Json) -> Iterator[str]:
    yield f"### {_short(name)}"
    if about := schema.get("description"):
        yield about
    fields, required = schema.get("properties", {}), schema.get("required", ())
    if fields:
        rows = (
            (f"`{field}`", _kind(one), "yes" if field in required else "", one.get("description", ""))
            for field, one in fields.items()
        )
        yield _table(("Field", "Type", "Always there", "Meaning"), rows)
    elif not about:
        yield _kind(schema)


def _kind(schema: Json) -> str:
    """Return a type as one reads it, with a link to a type that has a section."""
    if "$ref" in schema:
        name = _short(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower().replace(' ', '-')})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items') or {})}"
    named = schema.get("type", "anything")
    return str(schema.get("format", named)) if isinstance(named, str) else " or ".join(named)


def _short(name: str) -> str:
    """Return a type's name; of one that several modules have, with the source or part before it."""
    *modules, last = name.split(".")
    return f"{last} of {modules[-2]}" if modules else last


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )
