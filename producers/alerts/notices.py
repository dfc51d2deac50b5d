"""What is told of an incident, of a day, or for a trial; and how each kind of channel is told it. Pure."""

import hashlib
import hmac
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from producers.alerts.incidents import News
from producers.alerts.model import Alert, Incident, Severity

RUNBOOK: Final = "docs/runbook.md"
ENTRIES: Final[Mapping[str, str]] = {
    Alert.CALL_FAILURES: "hubcallfailures",
    Alert.RESULT_FAILURES: "hubresultfailures",
    Alert.SLOW_CALLS: "hubmoodleslow",
    Alert.AUTHENTICATION: "hubauthfailures",
    Alert.FEED_AUTHENTICATION: "hubauthfailures",
    Alert.FEED: "hubfeedblocked",
    Alert.PARKED: "hubparkedoverdue",
    Alert.CONFLICTS: "hubconflictsopen",
    Alert.OUTBOX: "huboutboxold",
    Alert.OUTBOX_SET_ASIDE: "huboutboxsetaside",
    Alert.UNWATCHED: "hubunwatched",
}
"""The entry of the runbook for each alert; what Prometheus tells too has one with that."""
SIGNATURE: Final = "X-Rosterhub-Signature"
DELIVERY: Final = "X-Rosterhub-Delivery"


class Occasion(StrEnum):
    """Why something is told that is of no incident."""

    SUMMARY = "SUMMARY"
    TEST = "TEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to be told; as JSON the body of webhooks, with `Frame.links` beside it.

    Attributes:
        news: ``OPENED``, ``ESCALATED``, ``RESOLVED``, ``SUMMARY`` or ``TEST``.
        at: when it was decided.
        severity: how much it matters.
        message: what happened, in one sentence or some lines; no personal data.
        incident_id: of which incident, if of one; so are the next three.
        tenant: whose.
        alert: which.
        subject: about what.
        opened_at: of the incident.
        details: figures by name.
    """

    news: str
    at: datetime
    severity: Severity
    message: str
    incident_id: int | None = None
    tenant: str = ""
    alert: str = ""
    subject: str = ""
    opened_at: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What the notices of one incident have in common."""
        return self.news.lower() if self.incident_id is None else f"incident/{self.incident_id}"

    @property
    def title(self) -> str:
        """A short line, such as ``[CRITICAL] school-a: feed ELM``."""
        if self.incident_id is None:
            return "Daily summary" if self.news == Occasion.SUMMARY else "Test message"
        word = self.news if self.news == News.RESOLVED else self.severity
        return f"[{word}] {self.tenant}: {self.alert} {self.subject}"


@dataclass(frozen=True, slots=True)
class Frame:
    """Where messages come from and lead to.

    Attributes:
        public_url: of the HTTP application, for links to its pages; empty: there are none.
    """

    public_url: str = ""

    def links(self, notice: Notice) -> dict[str, str]:
        """Return where to read on, by name."""
        found = {"runbook": f"{RUNBOOK}#{ENTRIES.get(notice.alert, 'alerts')}"} if notice.alert else {}
        if self.public_url and notice.incident_id is not None:
            found["page"] = f"{self.public_url.rstrip('/')}/ui/incidents/{notice.incident_id}"
        return found


def notice_of(incident: Incident, news: News, at: datetime) -> Notice:
    """Return what is told of ``incident``."""
    message = incident.message
    if news is News.RESOLVED:
        message = f"Not so any more since {incident.seen_at:%Y-%m-%d %H:%M} UTC. It was: {message}"
    return Notice(
        news=news,
        at=at,
        severity=incident.severity,
        message=message,
        incident_id=incident.incident_id,
        tenant=incident.name.tenant,
        alert=incident.name.alert,
        subject=incident.name.subject,
        opened_at=incident.opened_at,
        details=incident.details,
    )


def as_json(notice: Notice, number: int, frame: Frame) -> bytes:
    """Return the body of a webhook; ``number`` is that of the delivery, the same for each try."""
    told = {**msgspec.to_builtins(notice), **frame.links(notice)}
    return msgspec.json.encode({"id": number, "title": notice.title, **told})


def signature(secret: str, body: bytes) -> str:
    """Return the value of the header by which a receiver knows that ``body`` is the hub's."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def as_slack(notice: Notice, frame: Frame) -> bytes:
    """Return the body for an incoming webhook of Slack, and of what understands the same."""
    parts = [f"*{_escaped(notice.title)}*", _escaped(notice.message), *frame.links(notice).values()]
    return msgspec.json.encode({"text": "\n".join(parts)})


def as_email(notice: Notice, number: int, frame: Frame, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Return an e-mail. Those of one incident make one thread; each try has the same Message-ID."""
    made, domain = EmailMessage(), sender.rpartition("@")[2].strip("> ") or "rosterhub"
    made["Subject"] = " ".join(f"Rosterhub {notice.title}".split())  # a header has no line breaks
    made["From"], made["To"] = sender, ", ".join(to)
    made["Date"] = format_datetime(notice.at)
    made["Message-ID"] = f"<rosterhub.{number}@{domain}>"
    if notice.incident_id is not None:
        made["References"] = f"<rosterhub.{notice.about.replace('/', '.')}@{domain}>"
    made["Auto-Submitted"] = "auto-generated"
    lines = [notice.message, ""]
    lines += [f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in notice.details.items()]
    lines += [f"{name}: {where}" for name, where in frame.links(notice).items()]
    made.set_content("\n".join(lines) + "\n")
    return made


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return str(value)


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
