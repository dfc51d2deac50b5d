"""Logging in, sessions, forms and headers of the dashboard, on a real database."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from http.cookies import SimpleCookie

import pytest
from argon2 import PasswordHasher

from producers.web.dashboard import lockout, sessions, users
from producers.web.dashboard.guard import LIVE_HEADER
from producers.web.dashboard.lockout import FREE_BY_ADDRESS, FREE_BY_NAME, Try
from producers.web.dashboard.page import HEADERS
from producers.web.dashboard.roles import Role
from producers.web.dashboard.site import PAGES
from producers.web.dashboard.user import By, digest_of
from schemas.ids import TenantId
from tests.integration.dashboard_support import (
    CHEAP,
    HOUSE,
    OTHER,
    PASSWORD,
    SCRIPT,
    SETTINGS,
    Person,
    World,
    dashboard_world,
    password_hash,
    person,
    visitor,
)

pytestmark = pytest.mark.integration

SECURE = replace(SETTINGS, public_url="https://hub.example.test")


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, api=False) as made:
        yield made


@pytest.fixture(autouse=True)
def nobody_has_failed(world: World) -> None:
    with world.pool.begin() as connection:
        connection.exec_driver_sql("DELETE FROM login_failures")


@pytest.fixture
async def somebody(world: World) -> AsyncIterator[Person]:
    async with visitor(world) as found:
        yield found


@pytest.fixture
async def viewer(world: World) -> AsyncIterator[Person]:
    async with person(world, "viewer") as found:
        yield found


def fresh_user(world: World, name: str, role: Role = Role.VIEWER) -> str:
    """Make a user for one test alone."""
    users.create(world.pool, name, role, [HOUSE], By("test"), password_hash())
    return name


# Log-in


async def test_a_log_in_leads_to_the_page_that_was_asked_for(somebody: Person, world: World) -> None:
    wanted = "/ui/audit?actor=user%3Aadmin&limit=25"
    status, place = await somebody.get(wanted)
    assert (status, place) == (303, "/login?next=%2Fui%2Faudit%3Factor%3Duser%3Aadmin%26limit%3D25")
    await somebody.get(place)
    assert await somebody.send("/login", name=" Viewer ", password=PASSWORD, next=wanted) == (303, wanted)
    assert (await somebody.get(wanted))[0] == 200
    assert users.get(world.pool, "viewer").last_login_at is not None


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "/\t/evil.test",
        "\\/evil.test",
        "javascript:alert(1)",
        "ui/audit",
    ],
)
async def test_nobody_is_led_to_another_site(somebody: Person, wanted: str) -> None:
    await somebody.get("/login")
    answer = await somebody.send("/login", name="viewer", password=PASSWORD, next=wanted)
    assert answer == (303, "/")


@pytest.mark.parametrize(
    ("name", "password"),
    [("viewer", "wrong"), ("nobody", PASSWORD), ("", ""), ("nul\0", "x"), ("viewer", "x" * 2000)],
)
async def test_whoever_is_wrong_gets_the_same_answer(somebody: Person, name: str, password: str) -> None:
    status, page = await somebody.log_in(name, password)
    assert (status, "Name or password is wrong." in page) == (403, True)
    assert "hub_session" not in str(somebody.headers)


async def test_unknown_names_cost_what_known_ones_do(
    somebody: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:
        looked_at.append(str(hash).rpartition("$")[0].rpartition("$")[0])
        return bool(verify(self, hash, password))

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for name in ("viewer", "nobody"):
        await somebody.log_in(name, "wrong password")
    assert len(looked_at) == 2
    assert looked_at[0] == looked_at[1], "the same parameters"


async def test_a_password_is_hashed_anew_when_the_parameters_have_changed(
    somebody: Person, world: World
) -> None:
    weak = PasswordHasher(time_cost=2, memory_cost=1024).hash(PASSWORD)
    users.create(world.pool, "older", Role.VIEWER, [HOUSE], By("test"), weak)
    await somebody.log_in("older")
    kept = users.password_hash_of(world.pool, "older")
    assert kept is not None
    assert kept != weak
    assert kept.startswith("$argon2id$")
    assert CHEAP.matches(PASSWORD, kept)


async def test_there_is_no_user_at_first_and_no_default_password(world: World) -> None:
    assert {name for (name,) in world.rows("SELECT name FROM users")} >= {"viewer"}, "made by these tests"
    migrations = world.rows("SELECT count(*) FROM users WHERE created_at < now() - interval '1 hour'")
    assert migrations == [(0,)]


# Lock-out


async def test_a_name_has_to_wait_after_some_failures_known_or_not(somebody: Person, world: World) -> None:
    for name in ("viewer", "unheard-of"):
        for _ in range(FREE_BY_NAME):
            assert (await somebody.log_in(name, "wrong"))[0] == 403
        status, page = await somebody.log_in(name, PASSWORD)
        assert (status, "too many tries" in page) == (429, True)
        assert 1 <= int(somebody.headers["Retry-After"]) <= 15
    lockout.forgive(world.pool, "viewer")
    assert (await somebody.log_in("viewer"))[0] == 303
    async with person(world, "operator"):
        pass  # others do not wait


async def test_an_address_has_to_wait_whatever_the_names(world: World) -> None:
    attempts = [Try(f"name{number}", "192.0.2.7") for number in range(FREE_BY_ADDRESS + 1)]
    waits = [lockout.begin(world.pool, attempt) for attempt in attempts]
    assert waits[:-1] == [timedelta(0)] * FREE_BY_ADDRESS
    assert waits[-1] > timedelta(0)
    assert lockout.begin(world.pool, Try("name", "192.0.2.8")) == timedelta(0)
    lockout.succeeded(world.pool, attempts[0])
    again = [lockout.begin(world.pool, attempt) for attempt in attempts[:2]]
    assert again[0] == timedelta(0) < again[1], (
        "one success takes back one try: others may be somebody else's"
    )


async def test_an_address_is_the_one_that_the_outermost_proxy_has_seen(world: World) -> None:
    async with visitor(world, replace(SETTINGS, proxies=1)) as somebody:
        await somebody.get("/login")
        for number in range(FREE_BY_ADDRESS + 1):
            forged = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.9"}
            await somebody.get("/login")
            status, _ = await somebody.send("/login", forged, name=f"n{number}", password="x")
        assert status == 429, "what the browser itself has noted does not count"
    digests = world.rows("SELECT digest FROM login_failures WHERE failures >= 20")
    assert len(digests) == 1


# Sessions


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(world: World) -> None:
    for settings, name, secure in ((SETTINGS, "hub_session", False), (SECURE, "__Host-hub_session", True)):
        async with visitor(world, settings) as somebody:
            await somebody.get("/login")
            cookies = SimpleCookie(somebody.headers["Set-Cookie"])
            headers = {"Origin": settings.origin} if secure else {}
            if secure:  # the client does not send such cookies over plain http by itself
                headers["Cookie"] = "; ".join(f"{one.key}={one.value}" for one in cookies.values())
            await somebody.send("/login", headers, name="viewer", password=PASSWORD)
            set_ = {
                one.key: one
                for text in somebody.headers.getall("Set-Cookie")
                for one in SimpleCookie(text).values()
            }
            session = set_[name]
            assert (session["path"], session["samesite"]) == ("/", "Lax")
            assert session["httponly"] is True
            assert bool(session["secure"]) is secure
            assert session["domain"] == ""
            assert len(session.value) == 43, "256 random bits"


async def test_only_the_hash_of_a_session_is_kept(viewer: Person, world: World) -> None:
    secret = next(c.value for c in viewer.client.session.cookie_jar if c.key == "hub_session")
    digests = [bytes(digest) for (digest,) in world.rows("SELECT digest FROM user_sessions")]
    assert digest_of(secret) in digests
    assert secret.encode() not in digests


async def test_a_log_in_begins_a_new_session_and_ends_the_old_one(world: World) -> None:
    async with visitor(world) as somebody:
        jar = somebody.client.session.cookie_jar
        await somebody.get("/login")
        token = somebody.token
        kept = {c.key: c.value for c in jar}
        await somebody.send("/login", name="viewer", password=PASSWORD)
        before = next(c.value for c in jar if c.key == "hub_session")
        jar.update_cookies(kept, somebody.client.make_url("/"))
        somebody.token = token
        assert (await somebody.send("/login", name="operator", password=PASSWORD))[0] == 303
        assert next(c.value for c in jar if c.key == "hub_session") != before
        jar.update_cookies({"hub_session": before}, somebody.client.make_url("/"))
        assert (await somebody.get("/ui/audit"))[0] == 303, "the old one has ended"


async def test_an_id_that_somebody_else_chose_begins_no_session(somebody: Person) -> None:
    jar = somebody.client.session.cookie_jar
    jar.update_cookies({"hub_session": "chosen-by-somebody-else"}, somebody.client.make_url("/"))
    await somebody.log_in("viewer")
    assert next(c.value for c in jar if c.key == "hub_session") != "chosen-by-somebody-else"


async def test_a_session_ends_unused_and_at_its_lifetime(viewer: Person, world: World) -> None:
    with world.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE user_sessions SET seen_at = seen_at - interval '59 min'")
    assert (await viewer.get("/ui/audit", **{LIVE_HEADER: "1"}))[0] == 200
    [(stale,)] = world.rows("SELECT count(*) FROM user_sessions WHERE seen_at > now() - interval '1 min'")
    assert stale == 0, "a page that brings itself up to date is no use"
    assert (await viewer.get("/ui/audit"))[0] == 200
    with world.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE user_sessions SET seen_at = seen_at - interval '59 min'")
    assert (await viewer.get("/ui/audit"))[0] == 200, "it was used in between"
    with world.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE user_sessions SET seen_at = now() - interval '61 min'")
    assert (await viewer.get("/ui/audit"))[0] == 303
    await viewer.log_in("viewer")
    with world.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE user_sessions SET expires_at = now() - interval '1 s'")
    assert (await viewer.get("/ui/audit"))[0] == 303
    assert sessions.remove_ended(world.pool, SETTINGS) >= 1
    assert world.rows("SELECT count(*) FROM user_sessions WHERE expires_at < now()") == [(0,)]


async def test_logging_out_ends_the_session_not_only_the_cookie(viewer: Person) -> None:
    jar = viewer.client.session.cookie_jar
    secret = next(c.value for c in jar if c.key == "hub_session")
    assert await viewer.send("/logout") == (303, "/login")
    jar.update_cookies({"hub_session": secret}, viewer.client.make_url("/"))
    assert (await viewer.get("/ui/audit"))[0] == 303


async def test_another_password_ends_all_sessions_but_this_one(world: World) -> None:
    name = fresh_user(world, "changer")
    async with person(world, name) as here, person(world, name) as there:
        wrong = await here.send("/ui/account/password", old="wrong", password="x" * 12, again="x" * 12)
        assert wrong[0] == 422
        new = "another long sentence"
        for password, again in (("short", "short"), (new, "other"), ("aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaa")):
            assert (await here.send("/ui/account/password", old=PASSWORD, password=password, again=again))[
                0
            ] == 422
        done = await here.send("/ui/account/password", old=PASSWORD, password=new, again=new)
        assert done == (303, "/ui/account")
        assert "your password is changed" in (await here.get("/ui/account"))[1].lower()
        assert (await there.get("/ui/account"))[0] == 303
        assert (await there.log_in(name))[0] == 403
        assert (await there.log_in(name, new))[0] == 303
    assert world.audited("user.password") == [(f"user:{name}", f"user/{name}", "", "house")]


async def test_who_is_disabled_is_out_at_once(world: World) -> None:
    name = fresh_user(world, "leaver")
    async with person(world, name) as leaver:
        users.disable(world.pool, name, By("test"))
        assert (await leaver.get("/ui/audit"))[0] == 303
        assert (await leaver.log_in(name))[0] == 403
        users.enable(world.pool, name, By("test"))
        assert (await leaver.get("/ui/audit"))[0] == 303, "the session does not come back"
        assert (await leaver.log_in(name))[0] == 303


async def test_another_role_holds_from_the_next_request_on(world: World) -> None:
    name = fresh_user(world, "riser")
    async with person(world, name) as riser:
        assert (await riser.get("/ui/users"))[0] == 403
        users.change_role(world.pool, name, Role.ADMIN, [OTHER], By("test"))
        assert (await riser.get("/ui/users"))[0] == 200
        assert "person/secret" in (await riser.get("/ui/audit"))[1], "the tenant is another one, too"


# Invitations


async def test_an_invitation_is_good_once_and_for_a_while(somebody: Person, world: World) -> None:
    users.create(world.pool, "guest", Role.VIEWER, [HOUSE], By("test"))
    assert (await somebody.log_in("guest", ""))[0] == 403
    path = f"/invitation/{users.invite(world.pool, 'guest', By('test'))}"
    await somebody.get(path)
    assert (await somebody.send(path, password="short", again="short"))[0] == 403
    assert await somebody.send(path, password=PASSWORD, again=PASSWORD) == (303, "/")
    assert (await somebody.get("/ui/account"))[0] == 200, "and logs in"
    assert (await somebody.get(path))[0] == 403
    assert (await somebody.send(path, password=PASSWORD, again=PASSWORD))[0] == 403
    path = f"/invitation/{users.invite(world.pool, 'guest', By('test'))}"
    with world.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET invitation_until = now() - interval '1 s'")
    assert (await somebody.get(path))[0] == 403
    assert (await somebody.get("/invitation/guessed"))[0] == 403


# Forms


async def test_a_form_without_its_token_is_refused(viewer: Person) -> None:
    good = viewer.token
    for token in ("", "0" * 64, "ä"):
        viewer.token = token
        status, page = await viewer.send("/ui/theme", theme="dark")
        assert (status, "did not come from an open page" in page) == (403, True)
    viewer.token = good
    assert (await viewer.send("/ui/theme", theme="dark"))[0] == 303
    viewer.token = ""
    assert (await viewer.send("/ui/theme", {"X-CSRF-Token": good}, theme="dark"))[0] == 303, (
        "as htmx sends it"
    )
    assert 'data-theme="dark"' in (await viewer.get("/ui/account"))[1]


async def test_a_token_of_another_session_is_refused(viewer: Person, world: World) -> None:
    async with person(world, "operator") as other:
        viewer.token = other.token
        assert (await viewer.send("/ui/theme", theme="dark"))[0] == 403


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "", "http://127.0.0.1:1"])
async def test_a_form_from_elsewhere_is_refused(viewer: Person, somebody: Person, origin: str) -> None:
    assert (await viewer.send("/ui/theme", {"Origin": origin}, theme="dark"))[0] == 403
    await somebody.get("/login")
    sent = await somebody.send("/login", {"Origin": origin}, name="viewer", password=PASSWORD)
    assert sent[0] == 403, "nor is anybody logged in from there"


async def test_a_log_in_that_another_browser_has_asked_for_is_refused(somebody: Person, world: World) -> None:
    async with visitor(world) as other:
        await other.get("/login")
        await somebody.get("/login")
        somebody.token = other.token
        assert (await somebody.send("/login", name="viewer", password=PASSWORD))[0] == 403


async def test_a_form_about_another_tenant_than_the_chosen_one_does_nothing(world: World) -> None:
    async with person(world, "both") as both:
        assert both.tenant == HOUSE
        assert (await both.send("/ui/tenant", tenant=OTHER))[0] == 303
        stale = await both.send("/ui/users", name="x", role="viewer", tenant="house")
        assert (stale[0], "another tenant" in stale[1]) == (409, True)
        assert "person/secret" in (await both.get("/ui/audit"))[1]
        assert (await both.send("/ui/tenant", tenant="unknown"))[0] == 403


async def test_a_form_that_is_no_form_is_refused(viewer: Person) -> None:
    headers = {"Origin": viewer.origin, "X-CSRF-Token": viewer.token}
    async with viewer.client.post("/ui/theme", json={"theme": "dark"}, headers=headers) as answer:
        assert answer.status == 415
    async with viewer.client.post("/ui/theme", data=io.BytesIO(b"x" * 1_100_000), headers=headers) as answer:
        assert answer.status == 413


# What everybody gets


async def test_every_page_has_the_policy_and_nothing_inline(world: World) -> None:
    async with person(world, "both") as both:
        paths = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path]
        assert len(paths) >= 4
        for path in ["/ui/nothing", "/ui/audit/a119", "/ui/audit?limit=x", *paths]:
            _, page = await both.get(path)
            for name, value in HEADERS.items():
                assert both.headers[name] == value, (path, name)
            assert "unsafe-inline" not in both.headers["Content-Security-Policy"]
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page), path
            assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page)), path
            assert not re.search(r'(src|href|action)="(https?:)?//', page), path


async def test_what_comes_from_data_is_escaped(viewer: Person) -> None:
    for path in ("/ui/audit", "/ui/audit/a119", f"/ui/audit?actor={SCRIPT}", f"/ui/{SCRIPT}"):
        _, page = await viewer.get(path)
        assert SCRIPT not in page, path
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (await viewer.get("/ui/audit"))[1]


async def test_other_tenants_are_not_shown(viewer: Person) -> None:
    assert "person/secret" not in (await viewer.get("/ui/audit?since=2026-01-01"))[1]
    assert (await viewer.get("/ui/audit/theirs"))[0] == 404
    assert "person/secret" not in (await viewer.get("/ui/audit?tenant=other"))[1]


async def test_nothing_is_shown_to_who_has_not_logged_in(somebody: Person) -> None:
    for page in PAGES:
        path = page.path.replace("{", "").replace("}", "")
        status, place = await (somebody.get(path) if page.method == "GET" else somebody.send(path))
        assert (status, place.startswith("/login")) == (303, True), page.path
    status, _ = await somebody.get("/ui/audit", **{"HX-Request": "true"})
    assert (status, somebody.headers["HX-Redirect"]) == (200, "/login")
    assert (await somebody.get("/"))[1] == "/login"


async def test_a_session_does_not_open_the_api(world: World) -> None:
    async with person(replace(world, api=True), "viewer") as viewer:
        assert (await viewer.get("/v1/admin/audit"))[0] == 401


async def test_static_files_are_kept_for_good_under_their_hash(somebody: Person) -> None:
    _, page = await somebody.get("/login")
    addresses = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(addresses) >= 4
    for address in addresses:
        assert (await somebody.get(address))[0] == 200
        assert somebody.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert (await somebody.get("/static/0000000000000000/app.css"))[0] == 404
    assert (await somebody.get(addresses[0].rsplit("/", 1)[0] + "/../page.py"))[0] == 404


async def test_a_database_that_is_away_is_told_on_a_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with person(world, "viewer") as viewer:
        world.pool.dispose()
        with world.pool.connect() as connection:
            name = str(connection.exec_driver_sql("SELECT current_database()").scalar())
        monkeypatch.setattr(world.pool.pool, "connect", _away)
        status, page = await viewer.get("/ui/audit")
        assert (status, "<h1>Service Unavailable</h1>" in page) == (503, True)
        assert name not in page


def _away(*_: object) -> None:
    import psycopg

    raise psycopg.OperationalError("away")


async def test_a_user_without_the_tenant_of_the_session_sees_one_of_theirs(world: World) -> None:
    users.create(world.pool, "mover", Role.VIEWER, [HOUSE, OTHER], By("test"), password_hash())
    async with person(world, "mover") as mover:
        assert mover.tenant == HOUSE
        users.change_role(world.pool, "mover", Role.VIEWER, [TenantId("third")], By("test"))
        await mover.get("/ui/account")
        assert "third" in mover.text
