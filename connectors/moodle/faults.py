"""One table: what Moodle's answer means for what can be done next.

Moodle answers most errors with HTTP 200 and an object with ``exception`` and ``errorcode``; around it, PHP
and proxies answer in HTML. Its ``message`` and ``debuginfo`` may hold SQL with the values of a person, so
only the error code ever leaves this module.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from infra.errors import HubError, RetryLater, Stop


class Kind(StrEnum):
    """What can be done about a failed call."""

    RETRY = "retry"
    """Nothing was done; the same call can be repeated later."""
    UNKNOWN = "unknown"
    """The call may have been carried out, or may be later: look up before acting again."""
    CUT = "cut"
    """The end of the form was lost (``max_input_vars``); the beginning may have been carried out."""
    REFUSED = "refused"
    """Moodle took the call and refused it, all of it; some entry is to blame, or a deadlock."""
    STOP = "stop"
    """Configuration, credentials or rights are wrong; no call will succeed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what can be done, and a code that is safe to show."""

    kind: Kind
    code: str


STATUSES: Final = {
    408: Kind.UNKNOWN,
    413: Kind.REFUSED,  # too large a body: fewer entries may pass
    429: Kind.RETRY,
    503: Kind.RETRY,  # maintenance by the command line; or a proxy that has nobody to pass it to
}
"""HTTP statuses other than these: 5xx is of unknown outcome, everything else but 200 is a wrong address."""

CODES: Final = {
    "sitemaintenance": Kind.RETRY,
    "upgraderunning": Kind.RETRY,
    "dbconnectionfailed": Kind.RETRY,
    "invalidtoken": Kind.STOP,
    "accessexception": Kind.STOP,
    "wsaccessuserdeleted": Kind.STOP,
    "wsaccessuserexpired": Kind.STOP,
    "wsaccessusernologin": Kind.STOP,
    "wsaccessusersuspended": Kind.STOP,
    "wsaccessuserunconfirmed": Kind.STOP,
    "forcepasswordchangenotice": Kind.STOP,
    "usernotfullysetup": Kind.STOP,
    "sitepolicynotagreed": Kind.STOP,
}
"""Error codes of Moodle. Every other one means that the call was refused, and nothing of it done."""

_OF_THE_FUNCTION: Final = frozenset({"accessexception", "missing_function"})
"""Codes that may speak of the one function only."""

_SAFE_CODE: Final = re.compile(r"[A-Za-z0-9_/]{1,60}")


class UnknownOutcome(RetryLater):
    """The call may have been carried out. Repeat only after a look-up, or if a repeat does no harm."""


class FormCut(UnknownOutcome):
    """The site takes fewer form variables than configured; a part may have been carried out."""


class Refused(HubError):
    """Moodle refused the call; nothing of it was done.

    Attributes:
        function: the web service function.
        code: Moodle's error code.
    """

    def __init__(self, function: str, code: str) -> None:
        super().__init__(f"Moodle refused {function}: {code}")
        self.function = function
        self.code = code


class NotAllowed(Stop):
    """The service user may not call this function, or the site does not have it.

    Moodle answers the same for every function where the token's service or address is barred.

    Attributes:
        function: the web service function.
    """

    def __init__(self, function: str, code: str) -> None:
        super().__init__(_no_entry(f"{function}: {code}"))
        self.function = function


def _no_entry(what: str) -> str:
    return f"Moodle does not let the hub in (token, rights or address), {what}"


def read_answer(status: int, body: bytes) -> tuple[Any, Failure | None]:
    """Read an HTTP answer.

    Args:
        status: the HTTP status.
        body: the body as it came.

    Returns:
        The decoded value and no failure, or none and the failure.
    """
    if status != 200:
        return None, Failure(_of_status(status), f"http_{status}")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, _of_text(body)
    failure = of_error(value) if isinstance(value, dict) else None
    return (None, failure) if failure else (value, None)


def of_error(value: dict[str, Any]) -> Failure | None:
    """Class an error object of Moodle; none if ``value`` is no error."""
    if "exception" not in value and "errorcode" not in value:
        return None
    raw = value.get("errorcode")
    code = raw if isinstance(raw, str) and _SAFE_CODE.fullmatch(raw) else _unnamed(raw)
    if code == "invalidrecord" and "external_functions" in str(value.get("message", "")):
        return Failure(Kind.STOP, "missing_function")
    return Failure(CODES.get(code, Kind.REFUSED), code)


def _unnamed(raw: object) -> str:
    return "other" if raw else "php_error"


def _of_status(status: int) -> Kind:
    return STATUSES.get(status, Kind.UNKNOWN if status >= 500 else Kind.STOP)


def _of_text(body: bytes) -> Failure:
    """Class an answer with status 200 that is no JSON.

    The client sends ``moodlewsrestformat=json`` as the last variable, so XML tells that the form was cut.
    HTML is a page of a proxy or of PHP; an empty body is PHP that died, so nothing is known.
    """
    start = body.lstrip()[:20].lower()
    if start.startswith(b"<?xml"):
        return Failure(Kind.CUT, "form_cut")
    return Failure(Kind.UNKNOWN, "html" if start.startswith(b"<") else "not_json")


def error_of(failure: Failure, function: str, retry_after: float | None = None) -> HubError:
    """Return the error by which a caller learns of ``failure``; its text holds codes only."""
    what = f"{function}: {failure.code}"
    match failure.kind:
        case Kind.RETRY:
            return RetryLater(f"Moodle cannot answer now, {what}", retry_after)
        case Kind.UNKNOWN:
            return UnknownOutcome(f"nobody knows whether Moodle did it, {what}", retry_after)
        case Kind.CUT:
            return FormCut(f"Moodle cut the form: max_input_vars is set too high, {what}")
        case Kind.REFUSED:
            return Refused(function, failure.code)
        case Kind.STOP if failure.code in _OF_THE_FUNCTION:
            return NotAllowed(function, failure.code)
        case Kind.STOP:
            return Stop(_no_entry(what))
