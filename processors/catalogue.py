"""The Moodle course that shall be, made from what all sources say of a course. Pure.

Several records may feed one course: those of different sources, and several of one source whose identity rule
gives them one id (combined classes).
"""

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from infra.mapping import TenantRules
from infra.mapping.model import CategoryRule, CourseRules, Metadata, OnDelete
from processors.selection import selected
from schemas.events import Course, Operation
from schemas.ids import CourseId, MoodleCourseId
from schemas.joins import ReferenceByCourse, ReferenceKind
from schemas.moodle import CategoryWish, CourseWish, GroupWish
from schemas.version import Version


class CourseProfile(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of one record says of the course."""

    source: str
    version: Version
    deleted: bool
    create: bool
    status: str | None
    category_id: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    moodle_course_id: MoodleCourseId | None
    term_id: str | None
    program_id: str | None
    fields: dict[str, str]


class ReferenceEntry(msgspec.Struct, frozen=True, array_like=True):
    """What a term or program says that the course refers to."""

    version: Version
    starts_at: datetime | None
    ends_at: datetime | None
    category_id: int | None
    fields: dict[str, str]


class CatalogueEntry(msgspec.Struct, frozen=True, array_like=True):
    """A course as the sources tell, and what was last asked for.

    Attributes:
        profiles: by source and record; none while only enrolments of the course have come.
        references: terms and programs by kind and id.
        issued: the last command's wish; none before the first.
        timer: key of the timer that is set for the course, if one is.
        archived: the end has passed and the course was put away.
    """

    profiles: dict[str, CourseProfile] = {}
    references: dict[str, ReferenceEntry] = {}
    issued: CourseWish | None = None
    timer: str | None = None
    archived: bool = False


def profile_of(event: Course) -> CourseProfile:
    """Return the profile that ``event`` tells."""
    said = {"short_name": event.short_name, "full_name": event.full_name, "status": event.source_status}
    fields = {name: value for name, value in said.items() if value}
    return CourseProfile(
        source=event.source_system,
        version=event.version,
        deleted=event.operation is Operation.DELETE,
        create=event.create,
        status=event.source_status,
        category_id=event.category_id,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        moodle_course_id=event.moodle_course_id,
        term_id=event.term_id,
        program_id=event.program_id,
        fields={**event.attributes, **fields},
    )


def reference_of(event: ReferenceByCourse) -> ReferenceEntry:
    """Return the entry that ``event`` tells."""
    return ReferenceEntry(
        event.version, event.starts_at, event.ends_at, event.moodle_category_id, dict(event.attributes)
    )


def reference_name(source: str, kind: ReferenceKind, reference_id: str) -> str:
    """Return the name of a term or program among the references of a course."""
    return f"{source}/{kind}/{reference_id}"


def references_of(profile: CourseProfile) -> list[tuple[ReferenceKind, str]]:
    """Return the terms and programs that ``profile`` refers to."""
    named = ((ReferenceKind.TERM, profile.term_id), (ReferenceKind.PROGRAM, profile.program_id))
    return [(kind, one) for kind, one in named if one]


def is_gone(entry: CatalogueEntry) -> bool:
    """Tell whether every source that had the course has deleted it."""
    return bool(entry.profiles) and all(one.deleted for one in entry.profiles.values())


def missing_references(entry: CatalogueEntry) -> list[ReferenceKind]:
    """Return the kinds of terms and programs that the course refers to and that nobody has told of yet."""
    return [
        kind
        for profile in entry.profiles.values()
        for kind, one in references_of(profile)
        if not profile.deleted and reference_name(profile.source, kind, one) not in entry.references
    ]


class _View(msgspec.Struct, frozen=True):
    """A profile that takes part, with its references: all fields for templates, and the times that count."""

    profile: CourseProfile
    rules: CourseRules
    fields: dict[str, str]
    starts_at: datetime | None
    ends_at: datetime | None
    category_id: int | None


class Wanted(msgspec.Struct, frozen=True):
    """What a course shall be.

    Attributes:
        wish: for the command; without ``update``, which depends on when it is issued.
        metadata: when a change of names, dates or category reaches an existing course.
        is_out: the course has left the selection.
        suspend: its enrolments are to be suspended.
        archive_at: when the course is to be put away, if it ever is.
    """

    wish: CourseWish
    metadata: Metadata
    is_out: bool = False
    suspend: bool = False
    archive_at: datetime | None = None


def wanted(
    course_id: CourseId, entry: CatalogueEntry, groups: tuple[GroupWish, ...], rules: TenantRules
) -> Wanted:
    """Return what the course shall be now.

    One that no source tells of is only looked for, and so is one whose term or program nobody has told of
    yet: these give it name, dates and category.
    """
    live = [(name, one) for name, one in sorted(entry.profiles.items()) if not one.deleted]
    views = [view for _, one in live if (view := _view(one, entry, rules)) is not None]
    if not views:
        policies = [rules.source(one.source).courses.on_leave for _, one in live]
        return Wanted(
            CourseWish(course_id=course_id, create=False),
            Metadata.NEVER,
            is_out=bool(live),
            suspend=any(policy is not OnDelete.LEAVE for policy in policies),
        )
    lead = _ordered(views, "category", rules)[0].rules
    wish = CourseWish(
        course_id=course_id,
        create=any(_creates(view) for view in views) and not missing_references(entry),
        short_name=_first(views, "short_name", rules),
        full_name=_first(views, "full_name", rules),
        category_id=next((v.category_id for v in views if v.category_id is not None), None),
        starts_at=_time(views, "starts_at", rules),
        ends_at=_time(views, "ends_at", rules),
        moodle_course_id=next(
            (v.profile.moodle_course_id for v in views if v.profile.moodle_course_id), None
        ),
        categories=_categories(views, lead.categories, rules),
        groups=groups,
        custom_fields=_custom_fields(views, rules),
    )
    return _archived(wish, views, entry, lead, rules)


def _view(profile: CourseProfile, entry: CatalogueEntry, rules: TenantRules) -> _View | None:
    """Return the profile with what it refers to, or none if it does not take part."""
    names = [reference_name(profile.source, kind, one) for kind, one in references_of(profile)]
    found = [entry.references[name] for name in names if name in entry.references]
    fields = dict(rules.values)
    for reference in found:
        fields |= reference.fields
    fields |= profile.fields
    of_source = rules.source(profile.source)
    if not selected(of_source.courses, fields):
        return None
    categories = (profile.category_id, *(reference.category_id for reference in found))
    return _View(
        profile,
        of_source.course,
        fields,
        profile.starts_at or next((one.starts_at for one in found if one.starts_at), None),
        profile.ends_at or next((one.ends_at for one in found if one.ends_at), None),
        next((one for one in categories if one is not None), None),
    )


def _creates(view: _View) -> bool:
    statuses = view.rules.create_when
    if statuses is None:
        return view.profile.create
    return (view.profile.status or "").lower() in {status.lower() for status in statuses}


def _ordered(views: list[_View], field: str, rules: TenantRules) -> list[_View]:
    order = rules.order("course", field, [view.profile.source for view in views])
    return sorted(views, key=lambda view: order.index(view.profile.source))


def _first(views: list[_View], name: str, rules: TenantRules) -> str | None:
    ordered = _ordered(views, name, rules)
    return next((text for v in ordered if (text := getattr(v.rules, name).render(v.fields))), None)


def _time(views: list[_View], name: str, rules: TenantRules) -> datetime | None:
    return next((at for view in _ordered(views, name, rules) if (at := getattr(view, name))), None)


def _categories(
    views: list[_View], path: tuple[CategoryRule, ...], rules: TenantRules
) -> tuple[CategoryWish, ...]:
    """Return the path; a step whose fields are missing is left out, so that a short chain is a short path."""
    fields = _ordered(views, "category", rules)[0].fields
    steps = ((step.idnumber.render(fields), step.name.render(fields)) for step in path)
    return tuple(CategoryWish(idnumber=idnumber, name=name) for idnumber, name in steps if idnumber and name)


def _custom_fields(views: list[_View], rules: TenantRules) -> dict[str, str]:
    found: dict[str, str] = {}
    for view in _ordered(views, "", rules):
        for name, made in view.rules.custom_fields.items():
            if (value := made.render(view.fields)) is not None:
                found.setdefault(name, value)
    return found


def _archived(
    wish: CourseWish, views: list[_View], entry: CatalogueEntry, lead: CourseRules, rules: TenantRules
) -> Wanted:
    archive = lead.archive
    if archive is None or wish.ends_at is None:
        return Wanted(wish, lead.metadata)
    archive_at = wish.ends_at + timedelta(days=archive.after_days)
    was_put_away = entry.issued is not None and entry.issued.visible is False
    if not entry.archived:
        visible = True if was_put_away else wish.visible
        return Wanted(replace(wish, visible=visible), lead.metadata, archive_at=archive_at)
    path = _categories(views, archive.category, rules) or wish.categories
    put_away = replace(wish, visible=False if archive.hide else wish.visible, categories=path)
    return Wanted(put_away, lead.metadata, suspend=archive.suspend)
