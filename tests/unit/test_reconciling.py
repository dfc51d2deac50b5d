"""Which site and tenant a comparison is of, and how much it may change."""

from pathlib import Path
from typing import Any

import pytest

from infra.cli.reconciling import most_changes
from infra.cli.surveys import where
from infra.errors import BadArgument, Stop
from infra.settings import Settings

MAPPING = '[tenants.acme]\ntarget = "north"\n'
NORTH = {"north": {"url": "https://north.example.org", "api_token": "n", "student_role_id": 9}}


@pytest.mark.parametrize(
    ("limit", "compared", "expected"),
    [
        ("10%", 100, 10),
        ("10%", 101, 11),
        ("10%", 0, 0),
        ("0%", 5, 0),
        ("100%", 5, 5),
        ("0", 5, 0),
        ("7", 5, 7),
    ],
)
def test_a_limit_is_a_number_or_a_share(limit: str, compared: int, expected: int) -> None:
    assert most_changes(limit, compared) == expected


@pytest.mark.parametrize("limit", ["", "%", "ten", "-1", "1.5%", "10 %", "10%%", "٣"])
def test_what_is_no_limit_is_refused_by_name(limit: str) -> None:
    with pytest.raises(BadArgument, match="--max-changes: "):
        most_changes(limit, 100)


def settings(folder: Path, mapping: str = MAPPING, **more: Any) -> Settings:
    (folder / "mapping.toml").write_text(mapping, "utf-8")
    return Settings(mapping_file=folder / "mapping.toml", moodle_url="https://first.example.org", **more)


@pytest.mark.parametrize(
    ("tenant", "site", "expected"),
    [
        (None, None, ("default", "default", "https://first.example.org", 5)),
        ("acme", None, ("acme", "north", "https://north.example.org", 9)),
        (None, "north", ("acme", "north", "https://north.example.org", 9)),
        ("acme", "north", ("acme", "north", "https://north.example.org", 9)),
        (None, "default", ("default", "default", "https://first.example.org", 5)),
    ],
)
def test_tenant_and_site_find_each_other(
    tmp_path: Path, tenant: str | None, site: str | None, expected: tuple[str, str, str, int]
) -> None:
    place = where(settings(tmp_path, moodle_sites=NORTH), tenant, site)
    found = place.tenant, place.target, place.settings.moodle_url, place.settings.moodle_student_role_id
    assert found == expected
    assert place.topics.commands.name == f"moodle.{place.target}.commands"


@pytest.mark.parametrize(
    ("tenant", "site", "words"),
    [
        ("other", "north", "--site: tenant 'other' is at the site 'default', not at 'north'"),
        (None, "south", "--site: there is no Moodle site 'south'; there are default, north"),
    ],
)
def test_a_site_that_is_not_the_tenants_is_refused(
    tmp_path: Path, tenant: str | None, site: str, words: str
) -> None:
    with pytest.raises(BadArgument, match=words):
        where(settings(tmp_path, moodle_sites=NORTH), tenant, site)


def test_a_site_that_no_setting_knows_stops(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="the mapping file names the Moodle site north"):
        where(settings(tmp_path), "acme", None)
