"""What was not accepted, kept for the administrator, and which studies that makes doubtful."""

from sqlalchemy import Connection, delete, exists, insert, select, update

from sij_node.store.tables import refusal_from, refusals
from sij_node.study import ReceivedInstance, Refusal

KEPT = 10_000
"""Refusals kept, the newest; conflicts are kept as long as their study."""


def add_refusal(connection: Connection, refusal: Refusal) -> None:
    """Keep a refusal.

    One that tells more of a conflict noted when the instance was offered, such as its place in
    the quarantine, completes that note instead of standing beside it.
    """
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
            delete(refusals).where(~refusals.c.conflict, refusals.c.refusal_id <= oldest_kept)
        )


def note_conflict(
    connection: Connection, offered: ReceivedInstance, stored: ReceivedInstance
) -> None:
    """Note that an SOP Instance UID came with other content; both studies are doubtful."""
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
                    reason=f"this SOP Instance UID came before from {stored.source_ae} "
                    "with other content; the first copy is kept",
                    quarantined_as="",
                    conflict=True,
                )
            )


def conflicts_of(connection: Connection, study_uid: str) -> tuple[Refusal, ...]:
    """The conflicting copies of a study's instances, oldest first."""
    rows = connection.execute(
        select(refusals)
        .where(refusals.c.conflict, refusals.c.study_uid == study_uid)
        .order_by(refusals.c.refusal_id)
    )
    return tuple(refusal_from(row) for row in rows)


def newest(connection: Connection, limit: int) -> tuple[Refusal, ...]:
    """The newest refusals, conflicts among them."""
    rows = connection.execute(select(refusals).order_by(refusals.c.refusal_id.desc()).limit(limit))
    return tuple(refusal_from(row) for row in rows)
