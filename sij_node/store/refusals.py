"""Rejected instances and associations, and conflicting copies."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, insert, or_, select, update

from sij_node.domain.study import ReceivedInstance, Refusal
from sij_node.store.database import Database
from sij_node.store.tables import instances, refusal_from, refusals

KEPT = 10_000
"""Number of refusals kept; conflicts and quarantined copies are kept as long as their study."""

_IN_QUARANTINE = refusals.c.quarantined_as != ""


def add_refusal(database: Database, refusal: Refusal) -> None:
    """Store a refusal.

    A conflict already noted when the instance was registered is completed, for instance with the
    name of the quarantined copy.
    """
    with database.writing() as connection:
        _add(connection, refusal)


def _add(connection: Connection, refusal: Refusal) -> None:
    row = {name: getattr(refusal, name) for name in Refusal.__dataclass_fields__}
    completed = connection.execute(
        update(refusals)
        .where(
            refusals.c.conflict,
            refusals.c.sop_instance_uid == refusal.sop_instance_uid,
            refusals.c.study_uid == refusal.study_uid,
            refusals.c.quarantined_as == "",
            refusals.c.status == 0,
        )
        .values(**row)
    )
    if completed.rowcount == 0:
        added = connection.execute(
            insert(refusals).values(conflict=False, **row).returning(refusals.c.refusal_id)
        )
        oldest_kept = added.scalar_one() - KEPT
        connection.execute(
            delete(refusals).where(
                ~refusals.c.conflict, ~_IN_QUARANTINE, refusals.c.refusal_id <= oldest_kept
            )
        )


def note_conflict(
    connection: Connection, offered: ReceivedInstance, stored: ReceivedInstance
) -> None:
    """Note that an SOP Instance UID arrived with different content; this concerns both studies."""
    for study_uid in {offered.study_uid, stored.study_uid}:
        noted = exists().where(
            refusals.c.conflict,
            refusals.c.sop_instance_uid == offered.sop_instance_uid,
            refusals.c.study_uid == study_uid,
            refusals.c.source_ae == offered.source_ae,
        )
        if not connection.execute(select(noted)).scalar():
            connection.execute(
                insert(refusals).values(
                    at=offered.received_at,
                    source_ae=offered.source_ae,
                    address="",
                    sop_instance_uid=offered.sop_instance_uid,
                    study_uid=study_uid,
                    status=0,
                    reason=f"SOP Instance UID already received from {stored.source_ae} "
                    "with different content; the first copy is kept",
                    quarantined_as="",
                    conflict=True,
                )
            )


def settle_conflicts(connection: Connection, study_uid: str) -> None:
    """Note that an administrator has decided about the conflicting copies of a study's images."""
    decided = select(refusals.c.sop_instance_uid).where(
        refusals.c.conflict, refusals.c.study_uid == study_uid
    )
    connection.execute(
        update(refusals)
        .where(refusals.c.conflict, refusals.c.sop_instance_uid.in_(decided.scalar_subquery()))
        .values(conflict=False)
    )


def conflicts_of(database: Database, study_uid: str) -> tuple[Refusal, ...]:
    """Instances of a study that arrived again with different content, oldest first."""
    wanted = (
        select(refusals)
        .where(refusals.c.conflict, refusals.c.study_uid == study_uid)
        .order_by(refusals.c.refusal_id)
    )
    return tuple(refusal_from(row) for row in database.rows(wanted))


def files_of(connection: Connection, study_uid: str) -> Sequence[str]:
    """File names of a study's quarantined copies."""
    names = select(refusals.c.quarantined_as).where(
        _IN_QUARANTINE, refusals.c.study_uid == study_uid
    )
    return connection.execute(names.distinct()).scalars().all()


def quarantined_alone(connection: Connection, moment: datetime) -> Sequence[str]:
    """Studies with nothing but quarantined copies, all of them received before a moment."""
    nothing_else = ~exists().where(instances.c.study_uid == refusals.c.study_uid)
    studies = (
        select(refusals.c.study_uid)
        .where(_IN_QUARANTINE, nothing_else)
        .group_by(refusals.c.study_uid)
        .having(func.max(refusals.c.at) < moment)
    )
    return connection.execute(studies).scalars().all()


def forget(connection: Connection, study_uid: str) -> None:
    """Remove a study's conflicts and the rows of its quarantined copies."""
    connection.execute(
        delete(refusals).where(
            or_(refusals.c.conflict, _IN_QUARANTINE), refusals.c.study_uid == study_uid
        )
    )


def newest_refusals(database: Database, limit: int = 50) -> tuple[Refusal, ...]:
    """The newest refusals, including conflicts."""
    wanted = select(refusals).order_by(refusals.c.refusal_id.desc()).limit(limit)
    return tuple(refusal_from(row) for row in database.rows(wanted))
