"""Users, keys and the audit: pages for administrators, and `hub users`, on a real database."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from typer.testing import CliRunner

from infra.cli.keys_commands import keys as keys_command
from infra.cli.users_commands import users as command
from producers.web import keys
from producers.web.dashboard import users
from producers.web.dashboard.passwords import Passwords
from producers.web.dashboard.roles import Role
from producers.web.dashboard.user import By, State
from producers.web.routes import Scope
from schemas.ids import TenantId
from tests.integration.dashboard_support import (
    HOUSE,
    OTHER,
    PASSWORD,
    Person,
    World,
    dashboard_world,
    person,
    visitor,
)

pytestmark = pytest.mark.integration

NUMBER_OF_ENTRIES = 120


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with dashboard_world(database_url, api=False) as made:
        yield made


@pytest.fixture
async def admin(world: World) -> AsyncIterator[Person]:
    async with person(world, "admin") as found:
        yield found


@pytest.fixture
async def viewer(world: World) -> AsyncIterator[Person]:
    async with person(world, "viewer") as found:
        yield found


def rows_of(page: str) -> list[str]:
    """Give the rows of the first table, without tags."""
    body = page.partition("<tbody")[2].partition("</tbody>")[0]
    found = [re.sub(r"<[^>]+>", " ", row) for row in body.split("<tr")[1:]]
    return [" ".join(html.unescape(row).split()) for row in found]


def link_of(page: str, text: str) -> str:
    """Give the address of the link with that text, or an empty text."""
    found = re.search(rf'href="([^"]*)"[^>]*>{text}<', page)
    return html.unescape(found[1]) if found else ""


# Roles


async def test_only_administrators_manage(world: World) -> None:
    for name in ("viewer", "operator"):
        async with person(world, name) as found:
            for path in ("/ui/users", "/ui/keys", "/ui/users/viewer"):
                status, page = await found.get(path)
                assert (status, f"Your role, {name}, may not do this." in page) == (403, True)
            assert "/ui/users" not in (await found.get("/ui/audit"))[1], "nor does the menu lead there"
            for path in ("/ui/users", "/ui/keys", "/ui/users/viewer/disable", "/ui/keys/rhk_x/revoke"):
                assert (await found.send(path, step="do"))[0] == 403


# Audit


async def test_the_audit_is_paged_through_to_its_end(viewer: Person) -> None:
    seen: list[str] = []
    path = "/ui/audit?limit=50"
    while path:
        _, page = await viewer.get(path)
        seen += rows_of(page)
        path = link_of(page, "Next page")
    assert len(seen) == NUMBER_OF_ENTRIES
    assert [re.findall(r"person/P(\d+)", row)[0] for row in seen] == [str(n) for n in range(120, 0, -1)]
    assert link_of(page, "First page") == "/ui/audit?limit=50"


async def test_the_audit_is_filtered_and_ordered_as_the_form_asks(viewer: Person) -> None:
    empty = "actor=&action=&subject=&since=&until=&limit=25&sort=at"
    _, page = await viewer.get(f"/ui/audit?{empty}")
    assert "person/P1 " in rows_of(page)[0]
    assert 'aria-sort="ascending"' in page
    _, page = await viewer.get("/ui/audit?subject=person/P7&since=2026-11-02T00:00")
    assert len(rows_of(page)) == 1
    _, page = await viewer.get("/ui/audit?subject=nobody")
    assert "Nobody has changed anything that matches." in page
    status, page = await viewer.get("/ui/audit?since=yesterday")
    assert (status, "since" in page) == (400, True)


async def test_the_audit_is_had_as_csv(viewer: Person) -> None:
    _, page = await viewer.get("/ui/audit?since=2026-11-02T01:00")
    status, text = await viewer.get(link_of(page, "CSV"))
    assert status == 200
    assert viewer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert len(list(csv.DictReader(io.StringIO(text)))) == 61


async def test_an_entry_of_the_audit_tells_everything(viewer: Person) -> None:
    _, page = await viewer.get("/ui/audit/a7")
    for text in ("person/P7", "user:admin", "2026-11-02 00:07:00", "asked", "&#34;n&#34;: &#34;1&#34;"):
        assert text in page


# Users


async def test_a_user_is_made_invited_and_logs_in(admin: Person, world: World) -> None:
    await admin.get("/ui/users")
    status, page = await admin.send("/ui/users", name=" Nora ", role="operator", tenant=["house"], why="new")
    assert status == 200
    link = re.search(r'id="plain" class="secret">([^<]+)<', page)
    assert link is not None
    assert (users.get(world.pool, "nora").state, users.get(world.pool, "nora").role) == (
        State.INVITED,
        Role.OPERATOR,
    )
    assert "invitation/" not in (await admin.get("/ui/users/nora"))[1], "shown only once"
    assert world.audited("user.create")[-1] == ("user:admin", "user/nora", "new", "house")
    assert world.audited("user.invite")[-1] == ("user:admin", "user/nora", "new", "house")
    async with visitor(world) as nora:
        path = link[1].removeprefix("http://127.0.0.1:8080")
        await nora.get(path)
        assert await nora.send(path, password=PASSWORD, again=PASSWORD) == (303, "/")
        await nora.get("/ui/account")
        assert "operator" in nora.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "viewer"}, "there is a user of that name"),
        ({"name": "no blanks"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"role": "owner"}, "viewer, operator or admin"),
        ({"tenant": ["other"]}, "choose at least one of yours"),
        ({"tenant": ["house", "other"]}, "choose at least one of yours"),
        ({"tenant": []}, "choose at least one of yours"),
    ],
)
async def test_a_user_that_cannot_be_made_is_refused(
    admin: Person, world: World, fields: dict[str, object], reason: str
) -> None:
    before = world.rows("SELECT count(*) FROM users")
    wanted = {"name": "fine", "role": "viewer", "tenant": ["house"], **fields}
    status, page = await admin.send("/ui/users", **wanted)
    assert (status, reason in page) == (422, True)
    assert world.rows("SELECT count(*) FROM users") == before


async def test_a_user_is_disabled_once_it_is_confirmed_and_enabled_again(admin: Person, world: World) -> None:
    users.create(world.pool, "temp", Role.VIEWER, [HOUSE], By("test"))
    await admin.get("/ui/users/temp")
    status, page = await admin.send("/ui/users/temp/disable", back="/ui/users/temp")
    assert (status, "All their sessions end at once" in page) == (200, True)
    assert users.get(world.pool, "temp").state is not State.DISABLED, "only asked"
    done = await admin.send("/ui/users/temp/disable", step="do", why="left", back="/ui/users/temp")
    assert done == (303, "/ui/users/temp")
    assert "temp is disabled." in (await admin.get("/ui/users/temp"))[1]
    assert "temp is disabled." not in (await admin.get("/ui/users/temp"))[1], "told once"
    assert users.get(world.pool, "temp").state is State.DISABLED
    assert world.audited("user.disable")[-1] == ("user:admin", "user/temp", "left", "house")
    await admin.send("/ui/users/temp/enable", step="do", back="//evil.test")
    assert admin.headers["Location"] == "/ui/users"
    assert users.get(world.pool, "temp").state is State.NOT_INVITED


async def test_role_and_tenants_are_changed(world: World) -> None:
    users.create(world.pool, "grows", Role.VIEWER, [HOUSE], By("test"))
    async with person(world, "both") as both:
        sent = await both.send("/ui/users/grows", role="admin", tenant=["house", "other"], why="x")
        assert sent[0] == 303
    found = users.get(world.pool, "grows")
    assert (found.role, set(found.tenants)) == (Role.ADMIN, {HOUSE, OTHER})
    assert {entry[3] for entry in world.audited("user.role")} == {"house", "other"}


async def test_nobody_changes_themselves_nor_users_of_others(admin: Person, world: World) -> None:
    for path, fields in (
        ("/ui/users/admin", {"role": "viewer", "tenant": "house"}),
        ("/ui/users/admin/disable", {"step": "do"}),
    ):
        status, page = await admin.send(path, **fields)
        assert "somebody else has to do that" in page
        assert status in (409, 422)
    for name in ("other", "both", "nobody"):
        assert (await admin.get(f"/ui/users/{name}"))[0] == 404
        assert (await admin.send(f"/ui/users/{name}/disable", step="do"))[0] == 404
        assert (await admin.send(f"/ui/users/{name}/invite"))[0] == 404
        assert (await admin.send(f"/ui/users/{name}", role="viewer", tenant="house"))[0] == 404
    listed = rows_of((await admin.get("/ui/users"))[1])
    assert not any(row.startswith(("other", "both")) for row in listed)
    assert users.get(world.pool, "other").state is State.ACTIVE


# Keys


async def test_a_key_is_made_works_is_shown_once_and_revoked(admin: Person, world: World) -> None:
    await admin.get("/ui/keys")
    wanted = {
        "name": "timetable",
        "scope": ["read", "sync"],
        "tenant": ["house"],
        "days": "30",
        "why": "asked",
    }
    status, page = await admin.send("/ui/keys", **wanted)
    assert status == 200
    plain = re.search(r'class="secret">(rhk_[^<]+)<', page)
    assert plain is not None
    found = keys.find(world.pool, keys.digest_of(plain[1]))
    assert found is not None
    assert (found.scopes, found.tenants) == (frozenset({Scope.READ, Scope.SYNC}), (HOUSE,))
    assert found.expires_at is not None
    assert plain[1] not in (await admin.get("/ui/keys"))[1]
    assert world.audited("key.create") == [("user:admin", f"key/{found.key_id}", "asked", "house")]
    path = f"/ui/keys/{found.key_id}/revoke"
    assert "cannot be brought back" in (await admin.send(path))[1]
    assert await admin.send(path, step="do", why="lost") == (303, "/ui/keys")
    assert world.audited("key.revoke") == [("user:admin", f"key/{found.key_id}", "lost", "house")]
    again = keys.find(world.pool, keys.digest_of(plain[1]))
    assert again is not None
    assert again.revoked_at is not None


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"scope": []}, {"scope": ["all"]}, {"tenant": ["other"]}, {"days": "soon"}, {"days": "0"}],
)
async def test_a_key_that_cannot_be_made_is_refused(
    admin: Person, world: World, fields: dict[str, object]
) -> None:
    before = len(keys.listed(world.pool))
    wanted = {"name": "x", "scope": ["read"], "tenant": ["house"], **fields}
    assert (await admin.send("/ui/keys", **wanted))[0] == 422
    assert len(keys.listed(world.pool)) == before


async def test_keys_of_other_tenants_are_out_of_reach(admin: Person, world: World) -> None:
    for tenants in ([OTHER], [HOUSE, OTHER]):
        _, key = keys.create(world.pool, "theirs", tenants, [Scope.READ])
        assert key.key_id not in (await admin.get("/ui/keys"))[1]
        assert (await admin.send(f"/ui/keys/{key.key_id}/revoke", step="do"))[0] == 404
    assert (await admin.send("/ui/keys/rhk_unknown/revoke", step="do"))[0] == 404


# `hub users`


@pytest.fixture
def runner(world: World, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DATABASE_URL", world.database)
    monkeypatch.setenv("API_PUBLIC_URL", "https://hub.example.test")
    return CliRunner()


def test_users_are_made_at_the_command_line_by_password_or_invitation(
    runner: CliRunner, world: World
) -> None:
    asked = ["create", "Carl", "--role", "admin", "--password-stdin", "--why", "first"]
    done = runner.invoke(command, asked, input=f"{PASSWORD}\n", catch_exceptions=False)
    assert done.exit_code == 0
    kept = users.password_hash_of(world.pool, "carl")
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "as RFC 9106 has it"
    assert Passwords().matches(PASSWORD, kept)
    assert users.get(world.pool, "carl").tenants == (TenantId("default"),)
    [(by, subject, why, tenant)] = world.audited("user.create")[-1:]
    assert (by.startswith("cli:"), subject, why, tenant) == (True, "user/carl", "first", "default")
    asked = ["create", "dora", "--role", "viewer", "--tenant", "house", "--tenant", "other", "--invite"]
    done = runner.invoke(command, asked, catch_exceptions=False)
    link = done.stdout.strip()
    assert link.startswith("https://hub.example.test/invitation/")
    found = users.invited(world.pool, link.rpartition("/")[2])
    assert found is not None
    assert (found.name, found.tenants) == ("dora", (HOUSE, OTHER))


def test_users_are_listed_and_changed_at_the_command_line(runner: CliRunner, world: World) -> None:
    users.create(world.pool, "erna", Role.VIEWER, [HOUSE], By("test"))

    def run(*arguments: str, typed: str = "") -> str:
        done = runner.invoke(command, arguments, input=typed, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    run("passwd", "erna", "--password-stdin", typed=f"{PASSWORD}\n")
    assert users.get(world.pool, "erna").state is State.ACTIVE
    run("role", "erna", "operator")
    assert users.get(world.pool, "erna").role is Role.OPERATOR
    run("disable", "erna", "--why", "x")
    assert [line.split() for line in run("list").splitlines() if line.startswith("erna")] == [
        ["erna", "operator", "house", "disabled", "password", "never"]
    ]
    run("enable", "erna")
    assert "/invitation/" in run("passwd", "erna", "--invite")


@pytest.mark.parametrize(
    ("arguments", "typed", "reason"),
    [
        (["create", "x y", "--role", "admin", "--invite"], "", "letters, digits"),
        (["create", "viewer", "--role", "admin", "--invite"], "", "there is a user of that name"),
        (["create", "short", "--role", "admin", "--password-stdin"], "123\n", "12 signs at least"),
        (["create", "asked", "--role", "admin"], "", "no terminal to ask at"),
        (["disable", "nobody"], "", "there is no such user"),
        (["passwd", "nobody", "--invite"], "", "there is no such user"),
    ],
)
def test_what_cannot_be_done_at_the_command_line_is_said(
    runner: CliRunner, arguments: list[str], typed: str, reason: str
) -> None:
    done = runner.invoke(command, arguments, input=typed)
    assert reason in str(done.exception)


def test_keys_of_the_command_line_are_in_the_audit(runner: CliRunner, world: World) -> None:
    done = runner.invoke(keys_command, ["create", "x", "--scope", "read"], catch_exceptions=False)
    assert done.exit_code == 0
    by, subject, _, tenant = world.audited("key.create")[-1]
    assert (by.startswith("cli:"), subject.startswith("key/rhk_"), tenant) == (True, True, "default")
