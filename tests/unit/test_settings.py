"""Where settings come from, what is refused, and what is never shown."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.cli.parts import check_sites, tenant_at_site
from infra.cli.roles import role_names
from infra.settings import CONFIG_FILE, Settings, reference


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, _, _ in reference():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(CONFIG_FILE, raising=False)
    return tmp_path


def test_the_environment_beats_the_file_and_the_file_the_default(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "rosterhub.toml").write_text('moodle_timeout = 5\nelm_feed = "1.4"\nelm_page_size = 7\n')
    monkeypatch.setenv("MOODLE_TIMEOUT", "9")
    settings = Settings()
    assert (settings.moodle_timeout, settings.elm_feed, settings.elm_page_size) == (9, "1.4", 7)
    assert settings.moodle_batch_size == 500


def test_a_named_file_is_read_instead(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "other.toml").write_text("elm_overlap = 3\n")
    monkeypatch.setenv(CONFIG_FILE, str(elsewhere / "other.toml"))
    assert Settings().elm_overlap == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ELM_FEED", "1.6"),
        ("ELM_TIMEZONE", "America/Nowhere"),
        ("MOODLE_MAX_INPUT_VARS", "0"),
        ("MOODLE_TARGET", "Two Words"),
        ("LOG_LEVEL", "CHATTY"),
        ("MOODLE_TLS_MINIMUM", "1.0"),
        ("TOPIC_PREFIX", "a b"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [str(part).upper() for error in refused.value.errors() for part in error["loc"]] == [name]


def test_lists_and_maps_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELM_IGNORED_COURSES", '["32090"]')
    monkeypatch.setenv("ELM_FIELD_NAMES", '{"GUID": "PERSON_GUID"}')
    settings = Settings()
    assert settings.elm_ignored_courses == {"32090"}
    assert settings.elm_field_names == {"GUID": "PERSON_GUID"}


def test_secrets_are_not_in_the_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOODLE_API_TOKEN", "ELM_API_TOKEN", "KAFKA_SASL_PASSWORD", "DATABASE_URL"):
        monkeypatch.setenv(name, "hush-hush")
    assert "hush-hush" not in repr(Settings())


def test_only_what_is_set_goes_to_the_kafka_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hush-hush")
    assert Settings().kafka("broker:9092") == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SASL_SSL",
        "sasl.password": "hush-hush",
    }


def test_every_setting_is_described() -> None:
    assert [name for name, _, text in reference() if not text] == []


def test_a_further_site_has_its_own_address_and_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOODLE_URL", "https://first.test")
    monkeypatch.setenv("MOODLE_BATCH_SIZE", "300")
    site = {"url": "https://north.test", "api_token": "hush-hush", "rate_limit": 100}
    monkeypatch.setenv("MOODLE_SITES", json.dumps({"north": site}))
    found = Settings().at_site("north")
    assert (found.moodle_target, found.moodle_url) == ("north", "https://north.test")
    assert (found.moodle_rate_limit, found.moodle_batch_size) == (100, 300)
    assert found.moodle_api_token is not None
    assert found.moodle_api_token.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(Settings())
    assert role_names(Settings())[-2:] == ("moodle-sink.north", "moodle-source.north")


def test_what_is_seen_at_a_further_site_is_of_the_tenant_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[tenants.home]\n[tenants.acme]\ntarget = "north"\n')
    monkeypatch.setenv("MAPPING_FILE", str(mapping))
    monkeypatch.setenv("MOODLE_SITES", json.dumps({"north": {"url": "https://n.test", "api_token": "t"}}))
    assert tenant_at_site(Settings()) == "home"
    assert tenant_at_site(Settings().at_site("north")) == "acme"
    check_sites(Settings().at_site("north"))
