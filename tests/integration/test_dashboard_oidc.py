"""Logging in by an identity provider: right and wrong tokens, groups and roles, and the way out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from pydantic import SecretStr

from infra.cli.checks import probes
from infra.errors import RetryLater
from infra.settings import OidcGrant, Settings
from producers.web.dashboard import users
from producers.web.dashboard.roles import Role
from producers.web.dashboard.settings import DashboardSettings, Grant, OidcSettings
from producers.web.dashboard.user import By
from tests import oidc_provider
from tests.integration.dashboard_support import (
    HOUSE,
    OTHER,
    SETTINGS,
    Person,
    World,
    dashboard_world,
    visitor,
)
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, FOREIGN, KEY, Claims, Provider

pytestmark = pytest.mark.integration

_NUMBERS = itertools.count(1)
ROLES = {
    "staff": Grant(Role.VIEWER),
    "school-a": Grant(Role.OPERATOR, (OTHER,)),
    "admins": Grant(Role.ADMIN),
}


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, api=False) as made:
        yield made


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider of its own for each test, so also a user: they are known by their issuer."""
    async with oidc_provider.provider() as made:
        made.claims = {"preferred_username": f"Ann{next(_NUMBERS)}", "groups": ["admins"]}
        yield made


def name_of(provider: Provider) -> str:
    """Give the name in the hub of who logs in."""
    return str(provider.claims["preferred_username"]).lower()


def settings_of(provider: Provider, **changed: Any) -> DashboardSettings:
    oidc = OidcSettings(provider.issuer, CLIENT_ID, CLIENT_SECRET, roles=ROLES, **changed)
    return replace(SETTINGS, oidc=oidc)


@pytest.fixture
async def ann(world: World, provider: Provider) -> AsyncIterator[Person]:
    """Somebody with a browser and an account at the provider."""
    async with visitor(world, settings_of(provider)) as found:
        yield found


async def by_provider(person: Person, provider: Provider, wanted: str = "/ui/audit") -> tuple[int, str]:
    """Go the way to the provider and back; give status and where it leads."""
    status, address = await person.get(f"/login/oidc?next={wanted}")
    assert status == 303
    return await person.get("/login/oidc/callback?" + provider.log_in(address).partition("?")[2])


async def test_somebody_with_a_group_is_let_in_with_its_role(
    ann: Person, provider: Provider, world: World
) -> None:
    assert "/login/oidc" in (await ann.get("/login"))[1]
    assert await by_provider(ann, provider) == (303, "/ui/audit")
    status, page = await ann.get("/ui/audit")
    assert (status, f"{name_of(provider)}</button>" in page) == (200, True)
    found = users.get(world.pool, name_of(provider))
    assert (found.role, found.tenants, found.is_local) == (Role.ADMIN, (HOUSE,), False)


async def test_role_and_tenants_follow_the_groups_at_each_log_in(
    ann: Person, provider: Provider, world: World
) -> None:
    for groups, role, tenants in (
        (["/school-a", "staff"], Role.OPERATOR, (OTHER,)),
        (["staff", "unknown"], Role.VIEWER, (HOUSE,)),
    ):
        provider.claims["groups"] = groups
        assert (await by_provider(ann, provider))[0] == 303
        found = users.get(world.pool, name_of(provider))
        assert (found.role, found.tenants) == (role, tenants)
    assert (await ann.get("/ui/users"))[0] == 403
    changed = [entry[3] for entry in world.audited("user.role") if entry[0] == f"user:{name_of(provider)}"]
    assert changed == ["house", "other"]


async def test_groups_may_lie_deeper_in_the_token(world: World, provider: Provider) -> None:
    provider.claims = {"email": "bob@school.test", "realm_access": {"roles": ["staff"]}, "sub": "43"}
    provider.methods = ("client_secret_post",)
    chosen = settings_of(provider, groups_claim="realm_access.roles", name_claim="email")
    async with visitor(world, chosen) as bob:
        assert await by_provider(bob, provider) == (303, "/ui/audit")
    assert users.get(world.pool, "bob@school.test").role is Role.VIEWER


async def test_nobody_without_a_group_is_let_in(ann: Person, provider: Provider) -> None:
    provider.claims = {"preferred_username": "carl", "groups": ["unknown"], "sub": "44"}
    status, page = await by_provider(ann, provider)
    assert (status, "None of your groups may use this dashboard" in page) == (403, True)
    assert (await ann.get("/ui/audit"))[1] == "/login?next=%2Fui%2Faudit"


def signed_by_secret(token: str) -> str:
    """The same claims, signed with what the client and everybody who has its secret could sign with."""
    claims = jwt.decode(token, KEY, algorithms=["RS256"]).claims
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET.encode().ljust(32)))


def unsigned(token: str) -> str:
    return "eyJhbGciOiJub25lIn0." + token.split(".")[1] + "."


def changing(**claims: Any) -> Callable[[Provider], None]:
    """Have the provider give tokens with other claims; none: without it."""

    def change(provider: Provider) -> None:
        def changed(found: Claims) -> Claims:
            return {name: value for name, value in {**found, **claims}.items() if value is not None}

        provider.changed = changed

    return change


def _endless(provider: Provider) -> None:
    provider.changed = lambda found: {**found, "exp": None}


def _signed_by_another(provider: Provider) -> None:
    provider.key = FOREIGN


def _signed_under_another_name(provider: Provider) -> None:
    provider.kid = str(KEY.kid)
    provider.key = FOREIGN


def _token(change: Callable[[str], str]) -> Callable[[Provider], None]:
    def set_(provider: Provider) -> None:
        provider.token = change

    return set_


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(changing(aud="another"), id="for another client"),
        pytest.param(changing(aud="another", azp=CLIENT_ID), id="asked for by us, for another client"),
        pytest.param(changing(aud=[CLIENT_ID, "another"], azp="another"), id="given to another client"),
        pytest.param(changing(iss="https://another.test"), id="of another issuer"),
        pytest.param(changing(nonce="another"), id="of another log-in"),
        pytest.param(changing(nonce=None), id="of no log-in"),
        pytest.param(changing(exp=int(time.time()) - 3600), id="expired"),
        pytest.param(changing(exp=None), id="without an end"),
        pytest.param(_endless, id="with an end that is none"),
        pytest.param(changing(sub=None), id="about nobody"),
        pytest.param(_signed_by_another, id="signed by a key that is not published"),
        pytest.param(_signed_under_another_name, id="signed by another key of the same name"),
        pytest.param(_token(signed_by_secret), id="signed by the secret of the client"),
        pytest.param(_token(unsigned), id="not signed"),
        pytest.param(_token(lambda _: "no.token"), id="no token"),
        pytest.param(lambda provider: provider.claims.pop("preferred_username"), id="without a name"),
    ],
)
async def test_a_token_that_is_not_right_lets_nobody_in(
    ann: Person, provider: Provider, spoil: Callable[[Provider], None]
) -> None:
    spoil(provider)
    assert (await by_provider(ann, provider))[0] == 403
    assert (await ann.get("/ui/audit"))[0] == 303


async def test_a_way_back_of_another_browser_leads_nowhere(world: World, provider: Provider) -> None:
    chosen = settings_of(provider)
    async with visitor(world, chosen) as attacker, visitor(world, chosen) as victim:
        _, address = await attacker.get("/login/oidc")
        back = "/login/oidc/callback?" + provider.log_in(address).partition("?")[2]
        await victim.get("/login/oidc")
        assert (await victim.get(back))[0] == 403
        assert (await attacker.get(back.replace("state=", "state=x")))[0] == 403
        assert (await attacker.get(back))[0] == 303
        assert (await attacker.get(back))[0] == 403, "the way back is good once"


async def test_a_provider_that_changes_its_keys_is_followed(
    ann: Person, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await by_provider(ann, provider))[0] == 303
    provider.key, provider.published = FOREIGN, [KEY, FOREIGN]
    monkeypatch.setattr("producers.web.dashboard.oidc._AGAIN_SECONDS", 0.0)
    assert (await by_provider(ann, provider))[0] == 303


async def test_a_provider_that_is_away_is_told(ann: Person, provider: Provider) -> None:
    provider.is_away = True
    status, page = await ann.get("/login/oidc")
    assert (status, "the identity provider answers 503" in page) == (503, True)
    assert (await ann.log_in("viewer"))[0] == 303, "passwords are another way"


async def test_a_provider_that_names_another_issuer_is_not_believed(world: World, provider: Provider) -> None:
    found = settings_of(provider)
    assert found.oidc is not None
    provider.named = f"{provider.issuer}/other"
    async with visitor(world, found) as ann:
        assert (await ann.get("/login/oidc"))[0] == 503


async def test_a_name_that_somebody_has_already_is_refused(ann: Person, provider: Provider) -> None:
    provider.claims = {"preferred_username": "admin", "groups": ["admins"], "sub": "45"}
    status, page = await by_provider(ann, provider)
    assert (status, "another user has it already" in page) == (403, True)


async def test_who_is_disabled_here_is_not_let_in(ann: Person, provider: Provider, world: World) -> None:
    provider.claims |= {"preferred_username": "dora", "sub": "46"}
    assert (await by_provider(ann, provider))[0] == 303
    users.disable(world.pool, "dora", By("test"))
    assert (await ann.get("/ui/audit"))[0] == 303, "the session has ended"
    assert (await by_provider(ann, provider))[0] == 403
    assert (await ann.log_in("dora"))[0] == 403, "and there is no password"


async def test_who_logs_out_is_shown_the_way_out_of_the_provider(ann: Person, provider: Provider) -> None:
    await by_provider(ann, provider)
    await ann.get("/ui/audit")
    assert await ann.send("/logout") == (303, "/login?left=")
    _, page = await ann.get("/login?left=")
    assert f'href="{provider.issuer}/logout?client_id=rosterhub&amp;post_logout_redirect_uri=' in page


async def test_passwords_can_be_left_out(world: World, provider: Provider) -> None:
    async with visitor(world, replace(settings_of(provider), local=False)) as ann:
        assert 'name="password"' not in (await ann.get("/login"))[1]
        assert (await ann.send("/login", name="viewer", password="x"))[0] == 403


async def test_who_comes_by_the_provider_is_changed_there(
    ann: Person, provider: Provider, world: World
) -> None:
    await by_provider(ann, provider)
    _, page = await ann.get(f"/ui/users/{name_of(provider)}")
    assert "identity provider" in page
    assert (await ann.send(f"/ui/users/{name_of(provider)}/invite"))[0] == 422
    with pytest.raises(Exception, match="vouches"):
        users.change_role(world.pool, name_of(provider), Role.VIEWER, [HOUSE], By("test"))


async def test_the_check_of_the_settings_asks_the_provider(provider: Provider) -> None:
    settings = Settings(
        moodle_url="https://moodle.test",
        moodle_api_token=SecretStr("x"),
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_role_map={"staff": OidcGrant(role="viewer")},
    )
    probe = dict(probes(settings))["Log-in"]
    assert await asyncio.to_thread(probe) == "answers"
    provider.is_away = True
    with pytest.raises(RetryLater, match="503"):
        await asyncio.to_thread(probe)
