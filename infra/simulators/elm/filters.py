"""The part of `$filter` and `$orderby` that both releases of the feed's reader use.

Grammar: `or` binds weaker than `and`, brackets group, a condition is `field op literal` with
`eq ne gt ge lt le like`. A literal is quoted text (a quote inside is doubled), a bare integer or
`null`. Names of fields and operators are read without regard to case, as the real server does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from infra.simulators.elm.columns import LOWEST, Kind, comparable

OPERATORS: Final = ("eq", "ne", "gt", "ge", "lt", "le", "like")
MAX_DEPTH: Final = 50


class QueryError(ValueError):
    """A query option that the server refuses with HTTP 400; the text says what and where."""


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition; `operand` is already in the comparable form of the field's kind."""

    field: str
    kind: Kind
    op: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Logic:
    """Conditions joined by one operator, `and` or `or`; kept flat, so that a long chain is not deep."""

    op: str
    terms: tuple["Node", ...]


Node = Compare | Logic
Order = tuple[tuple[str, bool], ...]
"""Fields to sort by, the most significant first; True means descending."""

_TOKEN = re.compile(
    r"\s*(?:(?P<bracket>[()])|(?P<text>'(?:[^']|'')*')|(?P<number>-?[0-9]+)(?![\w.])|(?P<word>[A-Za-z_]\w*))"
)


def parse_filter(text: str, fields: Mapping[str, Kind], zone: ZoneInfo) -> Node | None:
    """Read a `$filter`; blank text selects everything and gives None.

    Args:
        text: The option's value after percent-decoding.
        fields: Known fields with their kinds.
        zone: The server's zone, in which a timestamp without zone is meant.

    Raises:
        QueryError: Unknown field or operator, wrong literal, or bad syntax.
    """
    if not text.strip():
        return None
    reader = _Reader(_tokens(text), fields, zone)
    node = reader.either(0)
    if reader.position < len(reader.tokens):
        msg = f"unexpected '{reader.tokens[reader.position][1]}' in $filter"
        raise QueryError(msg)
    return node


def parse_orderby(text: str, fields: Mapping[str, Kind]) -> Order:
    """Read an `$orderby`: fields separated by commas, each with `asc` (the default) or `desc`.

    Raises:
        QueryError: Unknown field or direction.
    """
    return tuple(_order_part(part, fields) for part in text.split(",")) if text.strip() else ()


def compile_filter(node: Node, column: Callable[[str], Sequence[Any]]) -> Callable[[int], bool]:
    """Turn a filter into a test of a row number; `column` gives a field's comparable values by row."""
    if isinstance(node, Compare):
        return _condition(node, column(node.field))
    tests = [compile_filter(term, column) for term in node.terms]
    if node.op == "and":
        return lambda row: all(test(row) for test in tests)
    return lambda row: any(test(row) for test in tests)


def _condition(node: Compare, values: Sequence[Any]) -> Callable[[int], bool]:
    operand, lowest = node.operand, LOWEST[node.kind]
    tests: dict[str, Callable[[int], bool]] = {
        "eq": lambda row: bool(values[row] == operand),
        "ne": lambda row: bool(values[row] != operand),
        "gt": lambda row: values[row] != lowest and values[row] > operand,
        "ge": lambda row: values[row] != lowest and values[row] >= operand,
        "lt": lambda row: values[row] != lowest and values[row] < operand,
        "le": lambda row: values[row] != lowest and values[row] <= operand,
    }
    if node.op == "like":
        matches = _like_pattern(operand).fullmatch
        return lambda row: values[row] != lowest and matches(values[row]) is not None
    return tests[node.op]


def _like_pattern(pattern: str) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    collapsed = re.sub("%+", "%", pattern)
    return re.compile("".join(parts.get(char, re.escape(char)) for char in collapsed), re.DOTALL)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position, end)
        if match is None or match.lastgroup is None:
            msg = f"cannot read $filter at character {position + 1}"
            raise QueryError(msg)
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


class _Reader:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, tokens: list[tuple[str, str]], fields: Mapping[str, Kind], zone: ZoneInfo) -> None:
        self.tokens = tokens
        self.fields = fields
        self.zone = zone
        self.position = 0

    def either(self, depth: int) -> Node:
        return self._joined("or", depth, self._both)

    def _both(self, depth: int) -> Node:
        return self._joined("and", depth, self._single)

    def _joined(self, op: str, depth: int, term: Callable[[int], Node]) -> Node:
        terms = [term(depth)]
        while self._take_word(op):
            terms.append(term(depth))
        return terms[0] if len(terms) == 1 else Logic(op, tuple(terms))

    def _single(self, depth: int) -> Node:
        if not self._take_bracket("("):
            return self._compare()
        if depth == MAX_DEPTH:
            msg = f"$filter is nested deeper than {MAX_DEPTH}"
            raise QueryError(msg)
        node = self.either(depth + 1)
        if not self._take_bracket(")"):
            raise QueryError("missing ')' in $filter")
        return node

    def _compare(self) -> Compare:
        name = known_field(self._next("word", "a field name"), self.fields)
        op = self._next("word", "an operator").lower()
        if op not in OPERATORS:
            msg = f"unknown operator '{op}' after {name}"
            raise QueryError(msg)
        kind = self.fields[name]
        return Compare(name, kind, op, self._operand(name, kind, op))

    def _operand(self, name: str, kind: Kind, op: str) -> Any:
        group, text = self._next_literal(name)
        if group == "word":
            if op not in ("eq", "ne"):
                raise QueryError("null is compared by eq or ne only")
            return LOWEST[kind]
        if op == "like" and (kind is not Kind.TEXT or group != "text"):
            msg = f"like needs a text field and a quoted pattern, not {name} and {text}"
            raise QueryError(msg)
        return self._checked(name, kind, group, text)

    def _checked(self, name: str, kind: Kind, group: str, text: str) -> Any:
        if group == "number" and kind is not Kind.INTEGER:
            msg = f"{name} needs a quoted value, not {text}"
            raise QueryError(msg)
        plain = text[1:-1].replace("''", "'") if group == "text" else text
        operand = comparable(kind, plain, self.zone)
        if kind is not Kind.TEXT and operand == LOWEST[kind]:
            msg = f"{text} is not a value for {name} ({kind})"
            raise QueryError(msg)
        return operand

    def _next_literal(self, name: str) -> tuple[str, str]:
        token = self._peek()
        if token[0] in ("text", "number") or (token[0] == "word" and token[1].lower() == "null"):
            self.position += 1
            return token
        msg = f"missing a quoted value or an integer after {name}, found '{token[1]}'"
        raise QueryError(msg)

    def _next(self, group: str, wanted: str) -> str:
        found, text = self._peek()
        if found != group:
            msg = f"missing {wanted} in $filter, found '{text}'"
            raise QueryError(msg)
        self.position += 1
        return text

    def _take_word(self, word: str) -> bool:
        return self._take(("word", word))

    def _take_bracket(self, bracket: str) -> bool:
        return self._take(("bracket", bracket))

    def _take(self, wanted: tuple[str, str]) -> bool:
        group, text = self._peek()
        taken = (group, text.lower()) == wanted
        self.position += taken
        return taken

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("end", "end of filter")


def known_field(name: str, fields: Mapping[str, Kind]) -> str:
    """Give the field's own spelling; raises QueryError for an unknown one."""
    for field in fields:
        if field.lower() == name.lower():
            return field
    msg = f"unknown field '{name}'"
    raise QueryError(msg)


def _order_part(part: str, fields: Mapping[str, Kind]) -> tuple[str, bool]:
    words = part.split()
    direction = words[1].lower() if len(words) == 2 else "asc"
    if len(words) not in (1, 2) or direction not in ("asc", "desc"):
        msg = f"cannot read '{part.strip()}' in $orderby"
        raise QueryError(msg)
    return known_field(words[0], fields), direction == "desc"
