"""What happened, in words: the events of a story as people read them. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from producers.web.admin.story import Event

_Told = Mapping[str, Any]


def headline(event: Event) -> str:
    """Return what happened, in a line."""
    tell = _HEADLINES.get(event.what)
    return tell(event.told) if tell else event.what


def state(event: Event) -> str:
    """Return the word of ``event`` that tells how it went, for its badge; empty: it has none."""
    told = event.told
    match event.what:
        case "call":
            return str(told.get("code", ""))
        case "result" | "callback result":
            return str(told.get("outcome", ""))
        case "dead letter" | "conflict":
            return str(told.get("state", ""))
        case "parked":
            return "PARKED"
        case "refused":
            return "REFUSED"
        case _:
            return ""


def links(event: Event) -> list[tuple[str, str]]:
    """Return the names and addresses of what ``event`` leads to."""
    told, found = event.told, []
    person, course = told.get("person_id"), told.get("course_id")
    if person and course:
        found.append((f"enrolment in {course}", f"/ui/enrolments/{_quoted(person)}/{_quoted(course)}"))
    elif course:
        found.append((f"course {course}", f"/ui/courses/{_quoted(course)}"))
    page = _PAGES.get(event.what)
    if page:
        found.append((event.what, f"{page}/{_quoted(event.id)}"))
    if event.what == "conflict":
        found.append(("decide", conflict_address(told)))
    return found


def conflict_address(told: _Told) -> str:
    """Return the address of the page of a conflict, given its subject, person and course."""
    word = "person" if told["subject"] == "USER" else str(told["subject"]).lower()
    ids = [str(told[name]) for name in ("person_id", "course_id") if told.get(name)]
    return "/ui/conflicts/" + quote("/".join((word, *ids)), safe="")


def _quoted(text: object) -> str:
    return quote(str(text), safe="")


def _record(told: _Told) -> str:
    what = (
        "enrolment in " + str(told["course_id"])
        if "person_id" in told and "course_id" in told
        else ("person" if "person_id" in told else "course")
    )
    source = told.get("source") or "A source"
    if told.get("deleted"):
        return f"{source} has the {what} no more"
    status = told.get("status") or told.get("source_status")
    return f"{source} tells of the {what}" + (f": {status}" if status else "")


def _command(told: _Told) -> str:
    return f"Moodle {told.get('target')} was asked for the {_kind(told)}, generation {told.get('generation')}"


def _result(told: _Told) -> str:
    done = told.get("action") or told.get("status") or ""
    return _joined(f"Moodle's answer about the {_kind(told)}", done, told.get("reason"))


def _kind(told: _Told) -> str:
    kind = str(told.get("kind", "")).lower()
    kind = {"user": "account"}.get(kind, kind)
    return f"{kind} in {told['course_id']}" if kind == "enrolment" and told.get("course_id") else kind


def _call(told: _Told) -> str:
    took = f"{told['duration_ms']:,} ms" if "duration_ms" in told else ""
    again = f"attempt {told['attempt']}" if told.get("attempt", 1) > 1 else ""
    return _joined(f"{told.get('system')} {told.get('target')}: {told.get('function')}", took, again)


def _completion(told: _Told) -> str:
    return f"Completed in Moodle on {told.get('completed_on')}: {told.get('course_id')}"


def _callback(told: _Told) -> str:
    return f"ELM was to be told of the completion of {told.get('course_id')}"


def _callback_result(told: _Told) -> str:
    return _joined("ELM's answer about the completion", f"HTTP {told.get('http_status')}", told.get("reason"))


def _directive(told: _Told) -> str:
    subject = str(told.get("subject", "")).lower()
    subject = {"user": "account"}.get(subject, subject)
    done = {
        "REASSERT": f"The {subject} was to be issued once more",
        "RESOLVE": f"The conflict of the {subject} was settled by {told.get('resolution')}",
        "LINK": f"The {subject} was linked",
    }
    return _joined(done.get(str(told.get("kind")), str(told.get("kind"))), f"by {told.get('actor')}")


def _audit(told: _Told) -> str:
    why = f"“{told['why']}”" if told.get("why") else ""
    return _joined(f"{told.get('actor')}: {told.get('action')} of {told.get('subject')}", why)


def _letter(told: _Told) -> str:
    return _joined(f"Failed at {told.get('role')}: {told.get('reason')}", told.get("error"))


def _parked(told: _Told) -> str:
    return _joined(f"The {told.get('what')} waits for {told.get('waits_for')}", told.get("reason"))


def _conflict(told: _Told) -> str:
    return f"In conflict: {told.get('reason')}"


def _refused(told: _Told) -> str:
    return f"The {told.get('what')} is refused: {told.get('reason')}"


def _message(told: _Told) -> str:
    topic = str(told.get("topic"))
    return _SAID.get(topic.rpartition(".")[2], f"A message on {topic}")


_SAID: Final[Mapping[str, str]] = {
    "people": "A source told of the person",
    "courses": "A source told of the course",
    "sections": "A source told of a section of the course",
    "payments": "A source told of a payment",
    "grades": "A source told of a grade",
    "enrolments": "A source told of an enrolment",
    "enrolments-by-course": "An enrolment was handed on to its course",
    "observed": "It was seen in Moodle",
}
"""What messages say of which the read model keeps no more than the newest, by the end of the topic's name."""


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)


_HEADLINES: Final[Mapping[str, Callable[[_Told], str]]] = {
    "record": _record,
    "command": _command,
    "result": _result,
    "call": _call,
    "completion": _completion,
    "callback": _callback,
    "callback result": _callback_result,
    "directive": _directive,
    "audit": _audit,
    "dead letter": _letter,
    "parked": _parked,
    "conflict": _conflict,
    "refused": _refused,
    "message": _message,
}
_PAGES: Final[Mapping[str, str]] = {
    "call": "/ui/calls",
    "dead letter": "/ui/dead-letters",
    "audit": "/ui/audit",
    "callback": "/ui/callbacks",
    "callback result": "/ui/callback-results",
    "command": "/ui/commands",
    "result": "/ui/results",
}
"""Where one of what happened is told whole, by its id."""
