"""How many images the archive that sends a study has of each of its series, as last stated."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from sij_node.store.database import Database, insert_or_update
from sij_node.store.tables import series_at_archive as table


def keep_series_at_archive(
    database: Database, study_uid: str, images_of: Mapping[str, int]
) -> None:
    """Keep the numbers of images that an archive states, by Series Instance UID."""
    with database.writing() as connection:
        for series_uid, images in sorted(images_of.items()):
            row = {"study_uid": study_uid, "series_uid": series_uid, "images": images}
            keys = [table.c.study_uid, table.c.series_uid]
            insert_or_update(connection, table, row, keys)


def series_at_archive(database: Database, study_uid: str) -> Mapping[str, int]:
    """Number of images of each series of a study, where an archive has stated it."""
    rows = database.rows(select(table).where(table.c.study_uid == study_uid))
    return {row.series_uid: row.images for row in rows}


def forget_series(connection: Connection, study_uid: str) -> None:
    """Remove the numbers of a study that is cleared."""
    connection.execute(delete(table).where(table.c.study_uid == study_uid))
