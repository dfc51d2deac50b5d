"""An identity provider for tests: discovery, authorization code with PKCE, tokens with real signatures."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "rosterhub", "a secret: with %signs&"
Claims = dict[str, Any]


def _key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})


KEY: Final = _key()
FOREIGN: Final = _key()
"""A key that the provider does not have."""


@dataclass
class Provider:
    """What the provider knows and does.

    Attributes:
        issuer: its address.
        claims: of whoever logs in, beside those of the protocol.
        changed: changes the claims of the protocol, for tokens that are not right.
        key: that signs.
        published: the keys that it tells.
        methods: how clients prove who they are.
        is_away: answers 503.
        named: issuer that it names, if it names another one.
        kid: name under which it signs; that of the key if empty.
        token: changes the signed token.
    """

    issuer: str = ""
    claims: Claims = field(default_factory=dict)
    changed: Callable[[Claims], Claims] = lambda claims: claims
    key: RSAKey = field(default_factory=lambda: KEY)
    published: list[RSAKey] = field(default_factory=lambda: [KEY])
    methods: tuple[str, ...] = ("client_secret_basic",)
    is_away: bool = False
    kid: str = ""
    named: str = ""
    token: Callable[[str], str] = lambda token: token
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def log_in(self, address: str) -> str:
        """Log in where the hub has sent somebody; give where the provider sends them back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        if self.is_away:
            return web.Response(status=503)
        return web.json_response(
            {
                "issuer": self.named or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "end_session_endpoint": f"{self.issuer}/logout",
                "token_endpoint_auth_methods_supported": self.methods,
            }
        )

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response(KeySet(list(self.published)).as_dict(private=False))

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked = self._codes.pop(form["code"], None)
        if asked is None or not self._is_client(request, form) or not _fits(asked, form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "42",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        header = {"alg": "RS256", "kid": self.kid or self.key.kid}
        signed = jwt.encode(header, self.changed(claims), self.key)
        return web.json_response(
            {"access_token": "x", "token_type": "Bearer", "id_token": self.token(signed)}
        )

    def _is_client(self, request: web.Request, form: dict[str, str]) -> bool:
        if "client_secret_basic" not in self.methods:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        name, _, secret = pair.partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)


def _fits(asked: dict[str, str], form: dict[str, str]) -> bool:
    """Tell whether who redeems the code is who asked for it (RFC 7636)."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return challenge == asked["code_challenge"] and form["redirect_uri"] == asked["redirect_uri"]


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run a provider."""
    found = Provider()
    async with TestServer(found.app()) as server:
        found.issuer = str(server.make_url("/")).rstrip("/")
        yield found
