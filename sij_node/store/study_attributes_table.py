"""Date, description and accession number of studies, as long as their images are stored."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, select

from sij_node.domain.study import StudyAttributes
from sij_node.store.database import Database, insert_or_update
from sij_node.store.tables import study_attributes


def put_attributes(
    connection: Connection, study_uid: str, attributes: StudyAttributes | None
) -> None:
    """Store the attributes of a study; they replace earlier ones."""
    if attributes is not None:
        row = {"study_uid": study_uid, **vars(attributes)}
        insert_or_update(connection, study_attributes, row, [study_attributes.c.study_uid])


def attributes_of(database: Database, study_uids: Iterable[str]) -> Mapping[str, StudyAttributes]:
    """The attributes of studies; cleared and unread studies are missing."""
    wanted = select(study_attributes).where(study_attributes.c.study_uid.in_(set(study_uids)))
    return {
        row.study_uid: StudyAttributes(row.study_date, row.description, row.accession_number)
        for row in database.rows(wanted)
    }


def forget(connection: Connection, study_uid: str) -> None:
    """Remove the attributes of a study with its images."""
    connection.execute(delete(study_attributes).where(study_attributes.c.study_uid == study_uid))
