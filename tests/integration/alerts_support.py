"""Those whom the hub's alerts reach: a small SMTP server and an HTTP receiver, each in a thread."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "hub", "a-password"


@dataclass
class Mailbox:
    """An SMTP server.

    Attributes:
        port: on 127.0.0.1.
        trust: for clients that use TLS.
        refusals: answers to the next messages that are refused instead of taken.
        mails: that were taken.
    """

    port: int = 0
    trust: ssl.SSLContext | None = None
    refusals: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)

    def take(self, content: bytes) -> str:
        if self.refusals:
            return self.refusals.pop(0)
        self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        return "250 taken"


class _Session:
    """One conversation with a client; it has to begin TLS and to log in before anything else."""

    def __init__(self, mailbox: Mailbox, context: ssl.SSLContext, streams: Any) -> None:
        self._mailbox, self._context = mailbox, context
        self._reader: asyncio.StreamReader = streams[0]
        self._writer: asyncio.StreamWriter = streams[1]
        self._secure = self._known = False

    async def talk(self) -> None:
        await self._say("220 test")
        while line := (await self._reader.readline()).decode():
            word, _, rest = line.strip().partition(" ")
            if word.upper() == "QUIT":
                await self._say("221 bye")
                return
            await self._answer(word.upper(), rest)

    async def _answer(self, word: str, rest: str) -> None:
        if word == "EHLO":
            await self._say("250-test\r\n250 AUTH PLAIN" if self._secure else "250-test\r\n250 STARTTLS")
        elif word == "STARTTLS":
            await self._say("220 go on")
            await self._writer.start_tls(self._context)
            self._secure = True
        elif word == "AUTH":
            _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
            self._known = self._secure and (user, password) == (USER, PASSWORD)
            await self._say("235 welcome" if self._known else "535 no")
        elif not self._known:
            await self._say("530 who are you?")
        elif word == "DATA":
            await self._say("354 go on")
            content = await self._reader.readuntil(b"\r\n.\r\n")
            await self._say(self._mailbox.take(content[:-3]))
        else:
            await self._say("250 ok")

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()


@contextmanager
def mailbox(folder: Path) -> Iterator[Mailbox]:
    """Run an SMTP server with STARTTLS in a thread."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = Mailbox(trust=ssl.create_default_context(cafile=str(certificate)))
    loop, ended, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await _Session(made, context, (reader, writer)).talk()
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            made.port = server.sockets[0].getsockname()[1]
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


@dataclass
class Receiver:
    """An HTTP server to which is posted.

    Attributes:
        url: of it.
        statuses: of the next answers; then 204.
        requests: path, headers and JSON of each request.
        gate: requests wait until it is set before they are answered.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def told(self) -> list[tuple[str, int | None]]:
        """Give what was told of which incident, in the order it came, refused tries included."""
        return [(body["news"], body["incident_id"]) for _, _, body in self.requests]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run an HTTP receiver in a thread."""
    made = Receiver()
    made.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {**dict(self.headers), "raw": content.decode()}
            made.requests.append((self.path, headers, msgspec.json.decode(content)))
            made.gate.wait(30)
            with suppress(ConnectionError):  # the client may have been killed meanwhile
                self.send_response(made.statuses.pop(0) if made.statuses else 204)
                self.send_header("Location", "/elsewhere")  # of an answer that is a redirect
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield made
        finally:
            made.gate.set()
            server.shutdown()
            thread.join(30)


def _certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "smtp.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
