"""Templates of the mapping file: text with named fields and filters, such as ``sis_{student_id|pad:5}``.

Nothing in a template is run as code: a name is looked up, a filter is one of the table below. A doubled brace
stands for itself.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


class TemplateError(ValueError):
    """A template cannot be used; the text says where it is wrong."""


def _plain(text: str) -> str:
    """Return ``text`` in lower case without marks, everything else than a-z and 0-9 as single hyphens."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _NOT_PLAIN.sub("-", bare.lower()).strip("-")


def _number(argument: str) -> int:
    if not argument.isdecimal() or not 0 < int(argument) <= 255:
        msg = "needs a number from 1 to 255"
        raise TemplateError(msg)
    return int(argument)


def _text(argument: str) -> str:
    if not argument:
        msg = "needs a text"
        raise TemplateError(msg)
    return argument


def _nothing(argument: str) -> None:
    if argument:
        msg = "takes no argument"
        raise TemplateError(msg)


Filter = Callable[[str, Any], str]
FILTERS: Mapping[str, tuple[Callable[[str], Any], Filter, str]] = {
    "lower": (_nothing, lambda value, _: value.lower(), "small letters"),
    "upper": (_nothing, lambda value, _: value.upper(), "capital letters"),
    "trim": (_nothing, lambda value, _: value.strip(), "without blanks at both ends"),
    "plain": (_nothing, lambda value, _: _plain(value), "a-z, 0-9 and hyphens only"),
    "pad": (_number, lambda value, width: value.rjust(width, "0"), "filled with zeros from the left"),
    "first": (_number, lambda value, count: value[:count], "so many characters from the beginning"),
    "before": (_text, lambda value, mark: value.split(mark)[0], "what stands before the text"),
    "after": (_text, lambda value, mark: value.partition(mark)[2], "what stands behind the text"),
    "default": (_text, lambda value, _: value, "the text, where the field is missing or empty"),
}
"""Filters by name: how the argument is read, what is done, and what the documentation says of it."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    filters: tuple[tuple[str, Any], ...]

    def value(self, fields: Mapping[str, str]) -> str | None:
        """Return the field's value, or none where it is missing or comes out empty."""
        found = fields.get(self.name) or ""
        for name, argument in self.filters:
            if found:
                found = FILTERS[name][1](found, argument)
            elif name == "default":
                found = argument
        return found or None


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template.

    Attributes:
        text: as it was written.
        parts: literal texts and fields, in order.
    """

    text: str
    parts: tuple[str | _Field, ...]

    def render(self, fields: Mapping[str, str]) -> str | None:
        """Return the text for ``fields``, or none when one of them is missing or empty."""
        rendered = []
        for part in self.parts:
            value = part if isinstance(part, str) else part.value(fields)
            if value is None:
                return None
            rendered.append(value)
        return "".join(rendered)

    def missing(self, fields: Mapping[str, str]) -> str | None:
        """Return the name of the first field for want of which `render` gives none."""
        names = (part.name for part in self.parts if isinstance(part, _Field) and part.value(fields) is None)
        return next(names, None)

    @property
    def names(self) -> frozenset[str]:
        """The fields that the template uses."""
        return frozenset(part.name for part in self.parts if isinstance(part, _Field))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read from text in the mapping file."""
        return core_schema.no_info_plain_validator_function(_one)


@cache
def template(text: str) -> Template:
    """Return the parsed template.

    Raises:
        TemplateError: with the place of what is wrong.
    """
    parts: list[str | _Field] = []
    end = 0
    for piece in _PIECE.finditer(text):
        parts.append(text[end : piece.start()])
        end = piece.end()
        if piece[0] in ("{{", "}}"):
            parts.append(piece[0][0])
        elif piece[1] is None:
            msg = f"a single {piece[0]} at character {piece.start() + 1}; double it if it stands for itself"
            raise TemplateError(msg)
        else:
            parts.append(_field(piece[1]))
    parts.append(text[end:])
    return Template(text, tuple(part for part in parts if part != ""))


def _field(text: str) -> _Field:
    name, *filters = text.split("|")
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name of a field"
        raise TemplateError(msg)
    return _Field(name, tuple(_filter(one) for one in filters))


def _filter(text: str) -> tuple[str, Any]:
    name, _, argument = text.partition(":")
    if name not in FILTERS:
        msg = f"there is no filter {name!r}; there are {', '.join(FILTERS)}"
        raise TemplateError(msg)
    try:
        read = FILTERS[name][0](argument)
    except TemplateError as error:
        msg = f"the filter {name} {error}"
        raise TemplateError(msg) from None
    return name, read


def _one(value: Any) -> Template:
    if isinstance(value, Template):
        return value
    if not isinstance(value, str) or not value:
        msg = "is not a text"
        raise TemplateError(msg)
    return template(value)


def _some(value: Any) -> "Choice":
    if not isinstance(value, str | list | tuple) or not value:
        msg = "is neither a text nor a list of texts"
        raise TemplateError(msg)
    return Choice(map(_one, [value] if isinstance(value, str) else value))


class Choice(tuple[Template, ...]):
    """Templates of which the first that can be rendered counts; written as one text or a list of texts."""

    __slots__ = ()

    def render(self, fields: Mapping[str, str]) -> str | None:
        """Return the first text that can be made of ``fields``, or none."""
        return next((found for one in self if (found := one.render(fields)) is not None), None)

    def missing(self, fields: Mapping[str, str]) -> str:
        """Return the names of the fields for want of which `render` gives none."""
        return " or ".join(name for one in self if (name := one.missing(fields)) is not None)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read from one text or a list of texts in the mapping file."""
        return core_schema.no_info_plain_validator_function(_some)


def choice(*texts: str) -> Choice:
    """Return the choice among the templates ``texts``."""
    return Choice(template(text) for text in texts)
