"""Mapping files: what is read, what is refused and on which line, and what templates give."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cli.main import main
from infra.mapping import MappingError, RuleIdentity, load, parse
from infra.mapping.templates import FILTERS, TemplateError, choice, template
from schemas.ids import TenantId

ACME, OTHER = TenantId("acme"), TenantId("other")
FIELDS = {"id": "17", "student_id": "123", "email": "Dara.Sok@Example.TEST", "name": "Dara  Sok", "empty": ""}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{student_id}", "123"),
        ("sis_{student_id|pad:5}", "sis_00123"),
        ("{email|lower}", "dara.sok@example.test"),
        ("{email|before:@|upper}", "DARA.SOK"),
        ("{email|after:@|lower}", "example.test"),
        ("{name|plain}", "dara-sok"),
        ("{name|first:4}", "Dara"),
        ("{missing|default:nobody}", "nobody"),
        ("{empty|default:nobody|upper}", "NOBODY"),
        ("{{{id}}}", "{17}"),
        ("plain text", "plain text"),
        ("{missing}", None),
        ("a{empty}b", None),
        ("{id|after:@}", None),
        ("sis_{missing|pad:5}", None),
    ],
)
def test_a_template_gives_text_or_nothing(text: str, rendered: str | None) -> None:
    assert template(text).render(FIELDS) == rendered


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{id", "a single { at character 1"),
        ("id}", "a single } at character 3"),
        ("{}", "'' is no name of a field"),
        ("{Id}", "'Id' is no name of a field"),
        ("{id|shout}", "there is no filter 'shout'"),
        ("{id|pad}", "the filter pad needs a number"),
        ("{id|pad:0}", "the filter pad needs a number"),
        ("{id|lower:x}", "the filter lower takes no argument"),
        ("{id|default:}", "the filter default needs a text"),
        ("{id.__class__}", "is no name of a field"),
    ],
)
def test_a_wrong_template_is_refused_with_the_place(text: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason.replace("{", r"\{").replace("}", r"\}")):
        template(text)


@given(st.text())
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        made = template(text)
    except TemplateError:
        return
    assert made.render(dict.fromkeys(made.names, "x")) is not None or "|" in text


def test_of_several_templates_the_first_that_can_be_made_counts() -> None:
    assert choice("{missing}", "{id}", "{email}").render(FIELDS) == "17"
    assert choice("{missing}", "{none|upper}").missing(FIELDS) == "missing or none"


def test_a_tenant_has_the_general_rules_under_its_own() -> None:
    rules = parse("""
        [sources.sis.user]
        username = "{email}"
        auth = "oauth2"
        [tenants.acme]
        target = "north"
        [tenants.acme.sources.sis.user]
        username = ["{student_id}", "{id}"]
    """)
    assert rules.targets == ("default", "north")
    own, general = (rules.of(tenant).source("sis").user for tenant in (ACME, OTHER))
    assert (own.username.render(FIELDS), own.auth.render({})) == ("123", "oauth2")
    assert general.username.render(FIELDS) == "Dara.Sok@Example.TEST"
    assert own.last_name.render({"family_name": "SOK"}) == "SOK"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = [", "mapping.toml: "),
        ("tenants = 3", "line 1: tenants: is not a table"),
        ("\n[sources.sis.user]\nusername = 'x{'\n", "line 3: sources.sis.user.username: a single {"),
        ("[sources.sis.user]\nnickname = 'x'", "line 2: sources.sis.user.nickname: "),
        (
            "[sources.sis]\nuser.on_delete = 'remove'",
            "line 2: sources.sis.user.on_delete: an account is never",
        ),
        ("[authority]\n'person.nose' = ['elm']", "line 1: authority: 'person.nose' is none of"),
        ("\n\n[tenants.acme.sources.sis.enrolment]\notherwise = 'GONE'", "line 4: tenants.acme.sources.sis."),
        (
            "[sources.sis.course]\ncategories = [{idnumber = '{a}'}]",
            "line 2: sources.sis.course.categories.0.",
        ),
        ("[sources.sis.course.archive]\nafter_days = -1", "line 2: sources.sis.course.archive.after_days"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse(text)
    assert problem in str(caught.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(MappingError) as caught:
        parse("[sources.sis.user]\nusername = 'x{'\nauth = 5\n[sources.zoho.user]\nemail = []")
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {
        "mapping.toml, line 2",
        "mapping.toml, line 3",
        "mapping.toml, line 5",
    }


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"nowhere\.toml: cannot be read \(FileNotFoundError\)"):
        load(tmp_path / "nowhere.toml")


def test_ids_are_made_by_the_rule_or_the_missing_fields_are_named() -> None:
    rules = parse('[tenants.acme.sources.sis.identity]\nperson = "{student_id}"\n')
    identity = RuleIdentity(rules.of(ACME), "sis")
    assert identity.person(FIELDS) == "123"
    assert identity.person({"id": "1"}) is None
    assert identity.missing("person", {"id": "1"}) == "student_id"
    assert RuleIdentity(rules.of(OTHER), "sis").person({"unique_id": "u", "id": "1"}) == "u"
    assert identity.course({"id": "7"}) == "7"


def test_rules_are_told_apart_by_their_digest() -> None:
    one, same, other = parse(""), parse("# nothing"), parse("[sources.sis.user]\nauth = 'saml2'")
    assert one.digest == same.digest != other.digest


def test_every_filter_is_explained() -> None:
    assert all(text for _, _, text in FILTERS.values())


PREVIEW = ("mapping", "preview", "--source", "zoho", "--kind", "enrollments")


def write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def test_the_command_shows_what_a_record_becomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"id": "e1", "Student": {"id": "s1"}, "BTEC_Class": {"id": "c1"}, "Status": "Withdrawn"}
    file = write(tmp_path / "record.json", json.dumps(record))
    rules = write(tmp_path / "rules.toml", '[sources.zoho.enrolment]\non_removed = "remove"\n')
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "mapping",
                "preview",
                "--record",
                file,
                "--source",
                "zoho",
                "--kind",
                "enrollments",
                "--file",
                rules,
            ]
        )
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert [next(iter(event)) for event in shown["events"]] == ["hub.enrolments"]
    assert [command["enrolment"]["status"] for command in shown["moodle"]] == ["REMOVED"]


def test_the_command_names_the_line_and_the_site_that_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["mapping", "check", write(tmp_path / "m.toml", "[tenants.a]\ntarget = 5\n")])
    assert ended.value.code == 1
    assert "m.toml, line 2: tenants.a.target" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["mapping", "check", write(tmp_path / "m.toml", '[tenants.a]\ntarget = "north"\n')])
    assert ended.value.code == 1
    assert "names the Moodle site north; MOODLE_SITES knows default" in capsys.readouterr().err


def test_the_guide_shows_a_file_that_is_right_and_every_filter() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "mapping.md").read_text("utf-8")
    shown = guide.partition("```toml\n")[2].partition("```")[0]
    rules = parse(shown)
    assert rules.of(ACME).target == "north"
    assert rules.of(ACME).source("sis").user.auth.render({}) == "saml2"
    assert [name for name in FILTERS if f"`{name}" not in guide] == []


@pytest.mark.parametrize("source", ["elm", "zoho", "sis", "another"])
def test_one_identity_may_be_told_without_the_other(source: str) -> None:
    identity = (
        parse(f'[sources.{source}.identity]\nperson = "{{email|lower}}"').general.source(source).identity
    )
    assert identity.person.render({"email": "A@x.test"}) == "a@x.test"
    assert identity.course.render({"id": "7"}) == "7"
