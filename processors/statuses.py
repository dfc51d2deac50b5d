"""What a source's status of an enrolment means for Moodle, by the mapping. Pure."""

from infra.mapping import Mapping
from infra.mapping.model import OnDelete
from schemas.events import Enrolment, EnrolmentStatus, Operation


def status_of(event: Enrolment, mapping: Mapping, known: EnrolmentStatus | None) -> EnrolmentStatus | None:
    """Return the status wished by ``event``.

    Args:
        event: of any source.
        mapping: with the rules of the event's tenant and source.
        known: the status wished so far.

    Returns:
        The status; none if by the policy for deletes or removals everything is left as it is and nothing is.
    """
    if event.operation is Operation.UPSERT and event.source_status is None:
        return event.status
    rules = mapping.of(event.tenant).source(event.source_system).enrolment
    if event.operation is Operation.DELETE:
        return _by_policy(rules.on_delete, known)
    status = rules.meanings.get((event.source_status or "").lower(), rules.otherwise)
    return _by_policy(rules.on_removed, known) if status is EnrolmentStatus.REMOVED else status


def _by_policy(policy: OnDelete, known: EnrolmentStatus | None) -> EnrolmentStatus | None:
    if policy is OnDelete.LEAVE:
        return known
    return EnrolmentStatus.REMOVED if policy is OnDelete.REMOVE else EnrolmentStatus.SUSPENDED
