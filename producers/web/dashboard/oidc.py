"""Logging in by an identity provider: OpenID Connect, authorization code with PKCE.

What has to be remembered between the way there and the way back (state, nonce, verifier) follows from one
secret in a cookie of the browser, so nothing is kept here for people who never come back.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

import aiohttp
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]  # has no types
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # has no types
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]  # has no types
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from yarl import URL

from infra.errors import HubError, RetryLater
from producers.web.dashboard.roles import RANKS, Role
from producers.web.dashboard.sessions import derived
from producers.web.dashboard.settings import Grant, OidcSettings, is_safe_url
from schemas.ids import TenantId

T = TypeVar("T")
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Of signatures: those by which only the provider can sign."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_KEPT_SECONDS: Final = 600.0
_AGAIN_SECONDS: Final = 30.0
_MAX_BYTES: Final = 1024 * 1024
_LEEWAY: Final = 60
"""Seconds by which the clocks may differ."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"


class Refused(HubError):
    """Somebody is not let in; the text says why, for them."""


class Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself (OpenID Connect Discovery)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    end_session_endpoint: str | None = None


class Tokens(msgspec.Struct, frozen=True):
    """The provider's answer to a code."""

    id_token: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody for whom the provider vouches.

    Attributes:
        subject: issuer and its id of them, which never changes.
        name: in the hub.
        role: by their groups.
        tenants: by their groups.
    """

    subject: str
    name: str
    role: Role
    tenants: tuple[TenantId, ...]


@dataclass(slots=True)
class Oidc:
    """The identity provider as the dashboard talks to it; of one event loop.

    Attributes:
        settings: of the provider.
        origin: of the dashboard.
        default: tenant of groups for which none is given.
    """

    settings: OidcSettings
    origin: str
    default: TenantId
    _known: tuple[float, Provider, KeySet] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def callback(self) -> str:
        """Where the provider sends people back."""
        return f"{self.origin}/login/oidc/callback"

    async def check(self) -> None:
        """See that the provider answers as it should.

        Raises:
            RetryLater: it does not.
        """
        await self._provider()

    async def way_there(self, secret: str) -> str:
        """Return the address at which people log in.

        Raises:
            RetryLater: the provider does not answer as it should.
        """
        provider, _ = await self._provider()
        address: str = prepare_grant_uri(
            provider.authorization_endpoint,
            client_id=self.settings.client_id,
            response_type="code",
            redirect_uri=self.callback,
            scope=self.settings.scopes,
            state=derived(secret, "state"),
            nonce=derived(secret, "nonce"),
            code_challenge=create_s256_code_challenge(derived(secret, "verifier")),
            code_challenge_method="S256",
        )
        return address

    async def way_out(self) -> str | None:
        """Return the address at which people log out of the provider too; none if it offers none."""
        try:
            provider, _ = await self._provider()
        except RetryLater:
            return None
        if provider.end_session_endpoint is None or not is_safe_url(provider.end_session_endpoint):
            return None
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": f"{self.origin}/login"}
        return str(URL(provider.end_session_endpoint).update_query(query))

    async def identity(self, code: str, secret: str) -> Identity:
        """Return who has come back with ``code``.

        Args:
            code: that the provider has given them.
            secret: from the cookie, from which the state follows that came with the code.

        Raises:
            Refused: the code or the token is not right, or no group lets them in.
            RetryLater: the provider does not answer as it should.
        """
        provider, keys = await self._provider()
        tokens = await self._tokens(provider, code, derived(secret, "verifier"))
        if not _has_key(tokens.id_token, keys):  # the provider has taken new keys into use
            provider, keys = await self._provider(_AGAIN_SECONDS)
        claims = self._claims(tokens.id_token, provider, keys, secret)
        return identity_of(claims, self.settings, self.default)

    def _claims(self, token: str, provider: Provider, keys: KeySet, secret: str) -> Mapping[str, Any]:
        """Return what an ID token says, whose signature, issuer, audience, age and nonce are right.

        Raises:
            Refused: something of it is not.
        """
        options = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
            "sub": {"essential": True},
        }
        params = {"nonce": derived(secret, "nonce"), "client_id": self.settings.client_id}
        try:
            found = jwt.decode(token, keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(found.claims, found.header, options, params)
            claims.validate(leeway=_LEEWAY)
        except (JoseError, ValueError) as error:
            # The kind tells enough; the text may hold what the token says.
            msg = f"The identity provider's answer is not right ({type(error).__name__}). Try again."
            raise Refused(msg) from None
        return dict(claims)

    async def _provider(self, seconds: float = _KEPT_SECONDS) -> tuple[Provider, KeySet]:
        """Return what the provider says of itself, and its keys, as of so many seconds ago at most."""
        async with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > seconds:
                provider = await self._discovered()
                body = await _asked("GET", provider.jwks_uri)
                self._known = (time.monotonic(), provider, _keys(body))
            return self._known[1], self._known[2]

    async def _discovered(self) -> Provider:
        body = await _asked("GET", self.settings.issuer.rstrip("/") + _WELL_KNOWN)
        provider = _read(body, Provider)
        if provider.issuer != self.settings.issuer:
            raise RetryLater("the identity provider names another issuer than OIDC_ISSUER")
        wanted = (provider.authorization_endpoint, provider.token_endpoint, provider.jwks_uri)
        if not all(map(is_safe_url, wanted)):
            raise RetryLater("the identity provider names addresses without https")
        return provider

    async def _tokens(self, provider: Provider, code: str, verifier: str) -> Tokens:
        settings = self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "client_id": settings.client_id,
            "code_verifier": verifier,
        }
        headers = {}
        if settings.client_secret and "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
            headers["Authorization"] = _basic(settings.client_id, settings.client_secret)
        elif settings.client_secret:
            form["client_secret"] = settings.client_secret
        return _read(await _asked("POST", provider.token_endpoint, data=form, headers=headers), Tokens)


def identity_of(claims: Mapping[str, Any], settings: OidcSettings, default: TenantId) -> Identity:
    """Return who the claims of a token are about.

    Raises:
        Refused: they have no name, or no group of theirs stands for a role.
    """
    name, grants = claims.get(settings.name_claim), []
    if not isinstance(name, str) or not name.strip():
        msg = f"The identity provider gives you no name ({settings.name_claim})."
        raise Refused(msg)
    grants = [
        settings.roles[group] for group in groups_of(claims, settings.groups_claim) if group in settings.roles
    ]
    if not grants:
        raise Refused("None of your groups may use this dashboard. Ask your administrator.")
    role, tenants = granted(grants, default)
    return Identity(f"{claims['iss']} {claims['sub']}", name, role, tenants)


def groups_of(claims: Mapping[str, Any], path: str) -> list[str]:
    """Return the groups of the claim ``path``, whose dots lead into objects; also without a ``/`` before."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    texts = [group for group in named if isinstance(group, str)]
    return [*texts, *(group.removeprefix("/") for group in texts if group.startswith("/"))]


def granted(grants: list[Grant], default: TenantId) -> tuple[Role, tuple[TenantId, ...]]:
    """Return the greatest role of ``grants``, and the tenants for which that one is given.

    A smaller role for other tenants is left out: a user has one role for all tenants, and must not have a
    greater one anywhere than a group gives them there.
    """
    role = max((grant.role for grant in grants), key=lambda one: RANKS[one])
    tenants = [tenant for grant in grants if grant.role is role for tenant in grant.tenants or (default,)]
    return role, tuple(dict.fromkeys(tenants))


async def _asked(method: str, url: str, **options: Any) -> bytes:
    """Return the body of an answer of the provider.

    Raises:
        Refused: it does not take what it was sent (400, 401).
        RetryLater: it does not answer as it should.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, url, allow_redirects=False, **options) as answer,
        ):
            body = await answer.content.read(_MAX_BYTES)
    except (aiohttp.ClientError, TimeoutError) as error:
        msg = f"the identity provider does not answer ({type(error).__name__})"
        raise RetryLater(msg) from None
    if method == "POST" and answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
        raise Refused("The identity provider does not confirm this log-in. Try again.")
    if answer.status != HTTPStatus.OK:
        msg = f"the identity provider answers {answer.status}"
        raise RetryLater(msg)
    return body


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError):
        raise RetryLater("the identity provider's answer cannot be read") from None


def _has_key(token: str, keys: KeySet) -> bool:
    """Tell whether the key that a token names is among ``keys``; one that cannot be read names none."""
    try:
        named = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError):
        return True
    return named is None or any(key.kid == named for key in keys.keys)


def _keys(body: bytes) -> KeySet:
    try:
        return KeySet.import_key_set(msgspec.json.decode(body))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise RetryLater("the identity provider's keys cannot be read") from None


def _basic(name: str, secret: str) -> str:
    """Return the header by which a client proves who it is; both parts are encoded (RFC 6749, 2.3.1)."""
    pair = f"{quote_plus(name)}:{quote_plus(secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"
