"""Bodies of the requests and answers, for the documentation of the HTTP interface."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class SyncBody(msgspec.Struct):
    """Records of one kind. A bare list, a single record and form encoding are taken too."""

    data: Annotated[list[dict[str, Any]], Meta(description="Records with Zoho's names of the fields")]


class SyncResult(msgspec.Struct):
    """The answer to one record; beside these it has ``zoho_<kind>_id``."""

    status: Annotated[
        str, Meta(description="NEW, UNCHANGED, UPDATED, INVALID, SKIPPED (parked or older) or ERROR")
    ]
    message: Annotated[str, Meta(description="The same in words")]
    changes: Annotated[
        dict[str, list[Any]] | None,
        Meta(
            description="Of UPDATED: each changed field with its old and new value; named `changed` for"
            " students, `changed_fields` for registrations, payments, units and grades"
        ),
    ] = None
    reason: Annotated[str | None, Meta(description="Of SKIPPED, INVALID and ERROR")] = None
    field: Annotated[str | None, Meta(description="Of INVALID: the field to blame")] = None


class SyncAnswer(msgspec.Struct):
    """One result for every record sent, in the same order."""

    status: Annotated[str, Meta(description="Always `success`: the records were dealt with, one by one")]
    idempotency_key: Annotated[str, Meta(description="Hash of what was sent")]
    results: list[SyncResult]
    tenant_id: Annotated[str | None, Meta(description="For registrations, payments, units and grades")] = None


class WebhookBody(msgspec.Struct):
    """A notification; the record itself, as JSON or form, is taken too."""

    notification_id: Annotated[
        str | None, Meta(description="Id of the event; sent again, it is not done again")
    ] = None
    operation: Annotated[str | None, Meta(description="insert, update or delete")] = None
    record_id: Annotated[str | None, Meta(description="Id of the record")] = None
    ids: Annotated[list[str] | None, Meta(description="Ids of several records")] = None
    data: Annotated[Any, Meta(description="The record, or a list; without it, it is fetched")] = None
    timestamp: Annotated[str | None, Meta(description="When it happened, ISO 8601")] = None
    module: Annotated[str | None, Meta(description="Zoho's module")] = None


class WebhookAnswer(msgspec.Struct):
    """The event is stored and will be done."""

    success: bool
    message: str
    event_id: str
    status: Annotated[str, Meta(description="`queued`, or `duplicate` when it had come before")]


class StudentDashboardBody(msgspec.Struct):
    """What a workflow rule sends; the id may stand in the address instead."""

    zoho_id: Annotated[str | None, Meta(description="Id of the record")] = None
    ids: Annotated[list[str] | None, Meta(description="Ids of several records")] = None
    module: Annotated[str | None, Meta(description="Zoho's module")] = None


class StudentDashboardAnswer(msgspec.Struct):
    """The event is stored and will be done."""

    status: Annotated[str, Meta(description="`success`; `skipped` when nothing is to be done")]
    message: str
    event_id: str
    zoho_id: Annotated[str | None, Meta(description="Id of the record, if it is a single one")] = None
    reason: Annotated[str | None, Meta(description="Of `skipped`")] = None


class EventsHealth(msgspec.Struct):
    """Whether webhooks are taken."""

    status: str
    waiting: Annotated[int, Meta(description="Events that are still to be done")]
