"""Reads the mapping file and says on which line it is wrong."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from infra.errors import Stop
from infra.mapping.model import BUILT_IN, Mapping, TenantRules, merged
from infra.mapping.templates import Template
from schemas.ids import Target, TenantId

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_SEGMENT = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_KEY = re.compile(rf"\s*(?:{_SEGMENT.pattern})(?:\s*\.\s*(?:{_SEGMENT.pattern}))*\s*=")


DEFAULT_TARGET = Target("default")


class MappingError(Stop):
    """The mapping file cannot be used; each line of the text says where and why."""


def load(path: Path, target: Target = DEFAULT_TARGET, **values: str) -> Mapping:
    """Return the mapping in the file at ``path``.

    Args:
        path: a TOML file.
        target: Moodle site of all tenants for which the file names no other.
        values: fields for all templates, where the file does not set them.

    Raises:
        MappingError: it cannot be read, or holds what it must not.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({type(error).__name__})"
        raise MappingError(msg) from None
    return parse(text, path.name, target, **values)


def parse(text: str, name: str = "mapping.toml", target: Target = DEFAULT_TARGET, **values: str) -> Mapping:
    """Return the mapping in ``text``; see `load`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name}: {error}"
        raise MappingError(msg) from None
    tenants = raw.pop("tenants", {})
    if not isinstance(tenants, dict):
        msg = f"{name}, line {line_of(text, ('tenants',))}: tenants: is not a table"
        raise MappingError(msg)
    base = merged({"target": target, **_built_in(values)}, raw)
    general = _rules(base, text, name, ())
    own = {
        TenantId(tenant): _rules(merged(base, over), text, name, ("tenants", tenant))
        for tenant, over in tenants.items()
    }
    return Mapping(general=general, tenants=own)


def _built_in(values: dict[str, str]) -> dict[str, Any]:
    """Return the defaults as plain tables, so that a file's tables can be laid over them."""
    sources = {source: _plain(rules) for source, rules in BUILT_IN.items()}
    return {"values": TenantRules().values | values, "sources": sources}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, Template):
        return value.text
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _rules(raw: dict[str, Any], text: str, name: str, above: tuple[str, ...]) -> TenantRules:
    try:
        return TenantRules.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(one, text, name, above) for one in error.errors(include_url=False)]
        raise MappingError("\n".join(problems)) from None


def _problem(error: Any, text: str, name: str, above: tuple[str, ...]) -> str:
    path = (*above, *(str(part) for part in error["loc"]))
    reason = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}, line {line_of(text, path)}: {'.'.join(path)}: {reason}"


def line_of(text: str, path: tuple[str, ...]) -> int:
    """Return the line, from 1, of the key at ``path``, or of the nearest table or key above it."""
    best, line_number = 0, 1
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _segments(header[1])
            here = table
        elif key:
            here = (*table, *_segments(line[: line.index("=")]))
        else:
            continue
        if here == path[: len(here)] and len(here) > best:
            best, line_number = len(here), number
    return line_number


def _segments(text: str) -> tuple[str, ...]:
    return tuple("".join(found) for found in _SEGMENT.findall(text))
