"""How PHP reads a form, and how it writes JSON and Moodle's XML."""

import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

PhpArray: TypeAlias = "dict[str | int, str | PhpArray]"

_PIECES = re.compile(r"\[([^\]]*)\]")
_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)\Z")


def pairs(encoded: str) -> list[tuple[str, str]]:
    """Split a form-encoded text into (name, value) in the order sent."""
    parts = [part.partition("=") for part in encoded.split("&") if part]
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]


def form(variables: Iterable[tuple[str, str]], limit: int) -> PhpArray:
    """Build PHP's nested array, silently cut as `max_input_vars` cuts it.

    PHP compares after it has stored a variable of a POST body, so `limit + 1` variables arrive; the rest
    vanishes without an error. Recorded: 5,001 of 10,003 variables at a limit of 5,000.

    Args:
        variables: names such as `users[0][email]` with their values, in the order sent.
        limit: the server's `max_input_vars`.
    """
    result: PhpArray = {}
    for number, (name, value) in enumerate(variables):
        if number > limit:
            break
        _store(result, name, value)
    return result


def _store(target: PhpArray, name: str, value: str) -> None:
    base, bracket, rest = name.partition("[")
    keys = [base.strip(" ").replace(".", "_").replace(" ", "_")]
    if bracket:
        keys += _PIECES.findall(bracket + rest)
    node = target
    for key in keys[:-1]:
        index = _key(node, key)
        child = node.get(index)
        if not isinstance(child, dict):
            child = node[index] = {}
        node = child
    node[_key(node, keys[-1])] = value


def _key(node: PhpArray, text: str) -> str | int:
    if text == "":
        return max((key for key in node if isinstance(key, int)), default=-1) + 1
    return int(text) if _INTEGER.match(text) else text


def to_json(value: object) -> str:
    r"""JSON as PHP's `json_encode` writes it: ASCII only, `/` as `\/`."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def to_xml(value: Any) -> str:
    """The answer of Moodle's REST server when no format (or `xml`) was asked for."""
    inner = "" if value is None else _xml(value)
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n<RESPONSE>\n{inner}</RESPONSE>\n'


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        keys = "".join(f'<KEY name="{name}">{_xml(item)}</KEY>\n' for name, item in value.items())
        return f"<SINGLE>\n{keys}</SINGLE>\n"
    if isinstance(value, list):
        return f"<MULTIPLE>\n{''.join(map(_xml, value))}</MULTIPLE>\n"
    if value is None:
        return '<VALUE null="null"/>\n'
    return f"<VALUE>{escape(str(int(value) if isinstance(value, bool) else value))}</VALUE>\n"


def error_xml(body: dict[str, str]) -> str:
    """An exception in XML."""
    names = (("errorcode", "ERRORCODE"), ("message", "MESSAGE"), ("debuginfo", "DEBUGINFO"))
    lines = "".join(f"<{tag}>{escape(body[key])}</{tag}>\n" for key, tag in names if key in body)
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n'
    return f'{head}<EXCEPTION class="{body["exception"]}">\n{lines}</EXCEPTION>\n'


def empty(value: object) -> bool:
    """PHP's `empty()`: also true for the text "0"."""
    return value in ("", "0", 0, None, False) or value == []
