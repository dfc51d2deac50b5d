"""The channels by which people and programs are told: e-mail, a signed webhook, Slack."""

import asyncio
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp

from infra.errors import HubError
from infra.http_client import retry_after
from producers.alerts.notices import (
    DELIVERY,
    SIGNATURE,
    Frame,
    Notice,
    as_email,
    as_json,
    as_slack,
    signature,
)

TIMEOUT: Final = 10.0
"""Seconds; of SMTP, for each step."""
_JSON: Final = {"Content-Type": "application/json"}


class DeliveryError(HubError):
    """A channel did not take a message.

    Attributes:
        code: short reason, such as ``http_503``, ``timeout`` or ``login_refused``.
        retry_after: seconds to wait as the other side asked; none if it did not.
    """

    def __init__(self, code: str, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after


class Channel(Protocol):
    """One way to tell something."""

    @property
    def name(self) -> str:
        """Its name in the table of notifications."""

    async def send(self, notice: Notice, number: int, frame: Frame) -> None:
        """Tell ``notice``; ``number`` is the same for each try.

        Raises:
            DeliveryError: it was not taken, or nobody knows.
        """


class Tls(StrEnum):
    """How a connection to an SMTP server is secured."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Email:
    """E-mail by an SMTP server.

    Attributes:
        to: addresses.
        sender: address.
        host: of the server.
        port: of the server.
        tls: how the connection is secured.
        user: to log in as; none: without a log-in.
        password: of the user.
        trust: authorities to trust; none: those of the machine.
    """

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    tls: Tls = Tls.STARTTLS
    user: str | None = None
    password: str = field(default="", repr=False)
    trust: ssl.SSLContext | None = None
    name: str = "email"

    async def send(self, notice: Notice, number: int, frame: Frame) -> None:
        """See `Channel.send`."""
        made = as_email(notice, number, frame, self.sender, self.to)
        await asyncio.to_thread(self._send, made)

    def _send(self, made: EmailMessage) -> None:
        try:
            with self._connected() as server:
                if self.tls is Tls.STARTTLS:
                    server.starttls(context=self._context())
                if self.user is not None:
                    server.login(self.user, self.password)
                server.send_message(made)
        except smtplib.SMTPException as error:
            raise DeliveryError(_smtp_code(error)) from None
        except TimeoutError:
            raise DeliveryError("timeout") from None
        except ssl.SSLError:
            raise DeliveryError("tls_refused") from None
        except OSError:
            raise DeliveryError("unreachable") from None
        except ValueError:  # of names that no server can have, and of addresses that are none
            raise DeliveryError("bad_address") from None

    def _connected(self) -> smtplib.SMTP:
        if self.tls is Tls.TLS:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=self._context())
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)

    def _context(self) -> ssl.SSLContext:
        return self.trust or ssl.create_default_context()


_SMTP_CODES: Final[Mapping[type[smtplib.SMTPException], str]] = {
    smtplib.SMTPAuthenticationError: "login_refused",
    smtplib.SMTPRecipientsRefused: "recipients_refused",
    smtplib.SMTPSenderRefused: "sender_refused",
    smtplib.SMTPNotSupportedError: "not_supported",
    smtplib.SMTPServerDisconnected: "cut_off",
}


def _smtp_code(error: smtplib.SMTPException) -> str:
    """Return a code for ``error``, whose own text may repeat addresses."""
    for kind, code in _SMTP_CODES.items():
        if isinstance(error, kind):
            return code
    return f"smtp_{error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else "smtp_failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook of somebody's own; its body is signed.

    Attributes:
        url: where it is posted.
        secret: by which the receiver checks the signature.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    name: str = "webhook"

    async def send(self, notice: Notice, number: int, frame: Frame) -> None:
        """See `Channel.send`."""
        body = as_json(notice, number, frame)
        await _post(self.url, body, {SIGNATURE: signature(self.secret, body), DELIVERY: str(number)})


@dataclass(frozen=True, slots=True)
class Slack:
    """An incoming webhook of Slack, or of what understands the same.

    Attributes:
        url: where it is posted; it is a secret.
    """

    url: str = field(repr=False)
    name: str = "slack"

    async def send(self, notice: Notice, _number: int, frame: Frame) -> None:
        """See `Channel.send`."""
        await _post(self.url, as_slack(notice, frame), {})


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post JSON; errors are codes, for addresses may be secrets."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.post(url, data=body, headers={**_JSON, **headers}, allow_redirects=False) as answer,
        ):
            status, wait = answer.status, answer.headers.get("Retry-After")
    except TimeoutError:
        raise DeliveryError("timeout") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise DeliveryError("unreachable") from None
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        code = f"http_{status}"
        raise DeliveryError(code, retry_after(wait, datetime.now(UTC)))
