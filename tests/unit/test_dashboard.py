"""The pure parts of the dashboard: groups and roles, waiting, addresses, values, files, settings."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import pytest

from infra.cli.dashboard import dashboard_settings
from infra.errors import BadArgument, Stop
from infra.settings import Settings
from producers.web.admin import resources as res
from producers.web.dashboard import lockout, passwords, static_files
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage, View, linked
from producers.web.dashboard.oidc import Refused, granted, groups_of, identity_of
from producers.web.dashboard.page import local_path
from producers.web.dashboard.roles import Role
from producers.web.dashboard.settings import Grant, OidcSettings, is_safe_url
from producers.web.dashboard.shown import FILTERS, value
from producers.web.dashboard.site import PAGES
from producers.web.dashboard.user import name_of
from schemas.ids import TenantId

HOUSE, OTHER = TenantId("house"), TenantId("other")
DASHBOARD = Path(static_files.__file__).parent


@pytest.mark.parametrize(
    ("path", "claims", "groups"),
    [
        ("groups", {"groups": ["a", "b"]}, ["a", "b"]),
        ("groups", {"groups": "a"}, ["a"]),
        ("groups", {"groups": ["/a", 1, None]}, ["/a", "a"]),
        ("realm_access.roles", {"realm_access": {"roles": ["a"]}}, ["a"]),
        ("https://school.test/groups", {"https://school.test/groups": ["a"]}, ["a"]),
        ("groups", {}, []),
        ("a.b.c", {"a": {"b": "x"}}, []),
        ("groups", {"groups": {"a": True}}, []),
    ],
)
def test_groups_are_found_where_the_settings_say(
    path: str, claims: dict[str, Any], groups: list[str]
) -> None:
    assert groups_of(claims, path) == groups


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ([Grant(Role.VIEWER)], (Role.VIEWER, (HOUSE,))),
        ([Grant(Role.VIEWER, (OTHER,)), Grant(Role.ADMIN)], (Role.ADMIN, (HOUSE,))),
        ([Grant(Role.ADMIN, (OTHER,)), Grant(Role.ADMIN, (HOUSE, OTHER))], (Role.ADMIN, (OTHER, HOUSE))),
        ([Grant(Role.OPERATOR, (OTHER,)), Grant(Role.VIEWER)], (Role.OPERATOR, (OTHER,))),
    ],
)
def test_several_groups_never_give_a_role_for_a_tenant_that_none_gives(
    grants: list[Grant], expected: tuple[Role, tuple[TenantId, ...]]
) -> None:
    assert granted(grants, HOUSE) == expected


def test_who_has_no_name_or_no_group_is_refused_with_a_reason() -> None:
    settings = OidcSettings("https://id.test", "hub", roles={"staff": Grant(Role.VIEWER)})
    claims = {"iss": "https://id.test", "sub": "1", "preferred_username": "ann", "groups": ["staff"]}
    assert identity_of(claims, settings, HOUSE).subject == "https://id.test 1"
    for change in (
        {"preferred_username": ""},
        {"preferred_username": 7},
        {"groups": ["x"]},
        {"groups": None},
    ):
        with pytest.raises(Refused, match=r"name|groups"):
            identity_of(claims | change, settings, HOUSE)


def test_pauses_grow_and_end() -> None:
    pauses = [lockout.pause_after(failures, 5).total_seconds() for failures in range(4, 13)]
    assert pauses == [0, 15, 30, 60, 120, 240, 480, 900, 900]
    assert lockout.pause_after(10**9, 5) == lockout.LONGEST


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("elevensigns", "12 signs"),
        ("x" * 1_001, "1000 at most"),
        ("ann-margret-2026", "holds the name"),
        ("abababababababab", "repeats"),
    ],
)
def test_passwords_that_are_easily_guessed_are_refused(password: str, reason: str) -> None:
    with pytest.raises(BadArgument, match=reason):
        passwords.check(password, "ann-margret")


def test_a_long_sentence_is_a_password_even_with_the_name_in_it() -> None:
    passwords.check("ann-margret likes the smell of old timetables", "ann-margret")


@pytest.mark.parametrize("name", ["ann", "ann@school.test", "a.b-c_d+e", "7of9"])
def test_names_of_users(name: str) -> None:
    assert name_of(f" {name.upper()} ") == name


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "ä", "a\n", "x" * 101, "<b>"])
def test_what_is_no_name_of_a_user(name: str) -> None:
    with pytest.raises(BadArgument, match="name"):
        name_of(name if name != "a\n" else "a\nb")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/ui/audit?x=1", "/ui/audit?x=1"),
        ("//evil.test", "/"),
        ("/\\evil.test", "/"),
        ("https://evil.test", "/"),
        ("/a\nb", "/"),
        ("", "/"),
        ("/a\\b", "/"),
    ],
)
def test_only_addresses_of_this_site_are_followed(text: str, found: str) -> None:
    assert local_path(text, "/") == found


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://hub.test", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost", True),
        ("http://hub.test", False),
        ("http://127.0.0.1.evil.test", False),
        ("ftp://localhost", False),
        ("", False),
    ],
)
def test_secrets_go_by_tls_or_stay_on_the_machine(url: str, safe: bool) -> None:
    assert is_safe_url(url) is safe


def test_values_are_shown_as_people_read_them() -> None:
    moment = datetime(2026, 11, 2, 8, 0, 3, tzinfo=UTC)
    shown = [value(one) for one in (None, "", True, False, 1234567, moment, moment.date(), ["a", 1], "x")]
    assert shown == [
        "–",
        "–",
        "yes",
        "no",
        "1\u202f234\u202f567",
        "2026-11-02 08:00:03",
        "2026-11-02",
        "a, 1",
        "x",
    ]


def test_links_quote_what_they_hold() -> None:
    assert linked("/ui/x/{id}", {"id": "a/b?c&d e"}) == "/ui/x/a%2Fb%3Fc%26d%20e"


def test_a_list_keeps_filters_and_leaves_out_the_place_when_the_order_changes() -> None:
    spec = ListPage("/ui/audit", "Audit", res.AUDIT, (Cell("at"),))
    view = View(spec, "/ui/audit", {"actor": ["a&b", "c"], "cursor": ["x"], "limit": ["25"]}, [], "next")
    assert view.next == "/ui/audit?actor=a%26b&actor=c&limit=25&cursor=next"
    assert view.first == "/ui/audit?actor=a%26b&actor=c&limit=25"
    assert view.csv == "/ui/audit?actor=a%26b&actor=c&format=csv"
    assert view.sort_link("at") == "/ui/audit?actor=a%26b&actor=c&limit=25&sort=at"
    assert (view.direction("at"), view.sort_link("actor")) == ("descending", "")


def test_a_form_holds_what_the_route_takes_and_nothing_of_ours() -> None:
    deed = Deed("/ui/x", "X", "Do", "/ui", route="/admin/x", lists=("places",))
    sent = [
        ("form_token", "t"),
        ("form_tenant", "h"),
        ("step", "do"),
        ("back", "/"),
        ("kind", ""),
        ("why", "w"),
    ]
    assert deed.fields_of([*sent, ("places", "a"), ("places", "b")]) == {"why": "w", "places": ["a", "b"]}


def test_what_is_not_ours_is_what_it_is_said_to_be() -> None:
    folder = DASHBOARD / "static" / "vendor"
    table = re.findall(
        r"\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|", (folder / "VENDORED.md").read_text("utf-8")
    )
    assert {name for name, _ in table} == {path.name for path in folder.glob("*.*s")}
    for name, digest in table:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_templates_have_nothing_that_the_policy_forbids() -> None:
    for path in sorted((DASHBOARD / "templates").glob("*.html")):
        text = path.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)|https?://", text), path.name
        jinja2.Environment(autoescape=True).parse(text)


def test_every_post_form_of_a_session_has_its_token() -> None:
    for path in sorted((DASHBOARD / "templates").glob("*.html")):
        for form in re.findall(r'<form method="post".*?</form>', path.read_text("utf-8"), re.DOTALL):
            assert "form_head(" in form or 'name="form_token"' in form, path.name


def test_every_file_has_an_address_with_its_hash() -> None:
    found = static_files.assets()
    assert {"app.css", "app.js", "mark.svg", "vendor/htmx.min.js"} <= set(found)
    assert all(re.fullmatch(r"/static/[0-9a-f]{16}/.+", one.address) for one in found.values())
    assert not any(name.endswith((".md", ".txt")) for name in found)


def test_the_scripts_and_styles_of_ours_fetch_nothing_from_elsewhere() -> None:
    for path in (DASHBOARD / "static").glob("*.*"):
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|url\(", text), path.name


def test_pages_stand_once_each_under_their_method() -> None:
    known = [(page.method, page.path) for page in PAGES]
    assert len(known) == len(set(known))
    assert all(page.path.startswith(("/ui/", "/logout")) for page in PAGES)


def test_filters_of_templates_take_any_value() -> None:
    values: list[Any] = [None, 0, "", "x", 1.5, [], {}, datetime.now(UTC)]
    for one in values:
        for name in ("value", "kind_of", "tone"):
            FILTERS[name](one)


def test_settings_become_those_of_the_dashboard() -> None:
    settings = Settings(
        api_public_url="https://hub.test/",
        dashboard_idle_minutes=5,
        oidc_issuer="https://id.test",
        oidc_client_id="hub",
        oidc_role_map={"staff": {"role": "viewer", "tenants": ["a"]}, "admins": {"role": "admin"}},  # type: ignore[dict-item]  # as the environment has it
    )
    found = dashboard_settings(settings)
    assert (found.origin, found.is_secure, found.idle) == ("https://hub.test", True, timedelta(minutes=5))
    assert found.oidc is not None
    assert found.oidc.roles == {"staff": Grant(Role.VIEWER, (TenantId("a"),)), "admins": Grant(Role.ADMIN)}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"oidc_issuer": "https://id.test"}, "OIDC_CLIENT_ID and OIDC_ROLE_MAP"),
        (
            {
                "oidc_issuer": "http://id.test",
                "oidc_client_id": "x",
                "oidc_role_map": {"a": {"role": "admin"}},
            },
            "https",
        ),
    ],
)
def test_a_provider_that_could_let_nobody_in_stops_the_start(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Stop, match=reason):
        dashboard_settings(Settings(**changed))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "https://0.0.0.0:8080"),
    ],
)
def test_without_a_public_address_only_this_machine_goes_without_tls(host: str, url: str) -> None:
    assert dashboard_settings(Settings(api_host=host)).public_url == url


def test_the_documentation_names_every_page_of_the_menu() -> None:
    told = (Path(__file__).resolve().parents[2] / "docs" / "dashboard.md").read_text("utf-8")
    assert [page.path for page in PAGES if page.menu and f"`{page.path}`" not in told] == []
