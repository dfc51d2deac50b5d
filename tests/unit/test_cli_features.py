"""Which features of Moodle follow from settings and mapping file: a table."""

from pathlib import Path

import pytest

from connectors.moodle_sink.settings import Feature
from infra.cli.features import features, sources_in_use
from infra.settings import Settings

CATEGORIES, UPDATES, GROUPS, UNENROLMENT = Feature
SIS = "https://sis.example.edu"
PLAIN_SIS = """
[sources.sis.course]
categories = []
metadata = "never"
[sources.sis.enrolment]
groups = false
on_removed = "suspend"
"""


def settings_of(folder: Path, mapping: str, **given: object) -> Settings:
    file = folder / "mapping.toml"
    file.write_text(mapping, "utf-8")
    return Settings.model_validate({"mapping_file": file, **given})


@pytest.mark.parametrize(
    ("given", "mapping", "expected"),
    [
        ({}, "", set()),
        ({"moodle_groups": True}, "", {GROUPS}),
        ({"zoho_client_id": "hub"}, "", {UPDATES}),
        ({"zoho_webhook_secrets": {"acme": "hush"}}, "", {UPDATES}),
        ({"sis_url": SIS}, "", {CATEGORIES, UPDATES, GROUPS, UNENROLMENT}),
        ({"sis_url": SIS}, PLAIN_SIS, set()),
        ({}, '[sources.sis.user]\nauth = "oauth2"', {CATEGORIES, UPDATES, GROUPS, UNENROLMENT}),
        ({}, '[sources.elm.enrolment]\non_delete = "remove"', {UNENROLMENT}),
        (
            {},
            '[sources.elm.enrolment]\nremoved = ["Gone"]\non_removed = "suspend"',
            set(),
        ),
        ({}, '[sources.elm.course]\nmetadata = "at once"', {UPDATES}),
        ({}, "[sources.elm.course.archive]\nafter_days = 1", {UPDATES}),
        (
            {},
            "[sources.elm.course.archive]\nafter_days = 1\n"
            'category = [{ idnumber = "archive", name = "Archive" }]',
            {CATEGORIES, UPDATES},
        ),
    ],
)
def test_only_what_the_rules_in_use_ask_for(
    tmp_path: Path, given: dict[str, object], mapping: str, expected: set[Feature]
) -> None:
    assert features(settings_of(tmp_path, mapping, **given), "default") == expected


def test_each_site_is_asked_for_what_its_own_tenants_wish(tmp_path: Path) -> None:
    sites = {name: {"url": f"https://{name}.example.edu", "api_token": "T"} for name in ("north", "south")}
    mapping = """
[tenants.at-home.sources.elm.enrolment]
on_delete = "remove"
[tenants.acme]
target = "north"
[tenants.acme.sources.elm.course]
metadata = "daily"
"""
    settings = settings_of(tmp_path, mapping, moodle_sites=sites)
    assert features(settings, "default") == {UNENROLMENT}
    assert features(settings, "north") == {UPDATES}
    assert features(settings, "south") == set()


def test_sources_are_those_connected_or_with_rules_of_their_own(tmp_path: Path) -> None:
    assert sources_in_use(settings_of(tmp_path, "")) == ("elm",)
    assert sources_in_use(settings_of(tmp_path, "", sis_url=SIS)) == ("elm", "sis")
    own = '[tenants.acme.sources.zoho.user]\nauth = "saml2"'
    assert sources_in_use(settings_of(tmp_path, own)) == ("elm", "zoho")
