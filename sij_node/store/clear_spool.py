"""Clearing the spool: removes files past the retention time, with and without a study.

The history of the studies' jobs is kept.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from sij_node.domain.job import FINISHED
from sij_node.store import analysis_records, received_copies, refusals, study_attributes_table
from sij_node.store.database import Database, lock_openings
from sij_node.store.deliveries import former_studies_in, has_pending
from sij_node.store.referenced_files import clear_unreferenced
from sij_node.store.series_at_archive import forget_series
from sij_node.store.spool import Spool
from sij_node.store.tables import committed_studies, instances, jobs, results

log = structlog.get_logger()


def clear_spool(database: Database, spool: Spool, retention_days: float, now: datetime) -> None:
    """Remove the files of all studies finished more than `retention_days` ago.

    Files that belong to no study are removed when they are as old.
    """
    limit = now - timedelta(days=retention_days)
    studies = finished_before(database, limit)
    cleared = sum(clear_study(database, study_uid, limit, spool) for study_uid in studies)
    if cleared:
        log.info("spool cleared", removed=cleared)
    if files := clear_unreferenced(database, spool, limit, now):
        log.info("files of no study cleared", removed=files)


def finished_before(database: Database, moment: datetime) -> tuple[str, ...]:
    """Studies whose jobs all ended before a moment and that have received no images since."""
    received = (
        select(instances.c.study_uid)
        .where(~_busy_since(moment), ~_is_committed())
        .group_by(instances.c.study_uid)
        .having(func.max(instances.c.received_at) < moment)
    )
    with database.reading() as connection:
        studies = connection.execute(received).scalars()
        alone = {
            *refusals.quarantined_alone(connection, moment),
            *received_copies.copies_alone(connection, moment),
        }
        return (*studies, *sorted(alone))


def clear_study(database: Database, study_uid: str, moment: datetime, spool: Spool) -> bool:
    """Remove the files of a finished study and the rows that reference them.

    No instance can be registered in the meantime.

    Parameters
    ----------
    moment
        As in `finished_before`; a study with activity since then is kept.

    Returns
    -------
    bool
        False if the study is in use again and was left as it is.
    """
    with database.writing() as connection:
        lock_openings(connection)
        if not _is_clearable(connection, study_uid, moment):
            return False
        quarantined, replaced = received_copies.files_of(connection, study_uid)
        for file_name in {*_instance_files(connection, study_uid), *replaced}:
            spool.remove(file_name)
        for file_name in {*refusals.files_of(connection, study_uid), *quarantined}:
            spool.remove_from_quarantine(file_name)
        for file_name in _result_files(connection, study_uid):
            spool.remove_result(file_name)
        _remove_rows(connection, study_uid)
        return True


def _busy_since(moment: datetime) -> ColumnElement[bool]:
    """Whether the outer row's study has a job that is unfinished or ended after `moment`."""
    is_finished = jobs.c.state.in_([state.value for state in FINISHED])
    over = and_(is_finished, jobs.c.changed_at < moment, ~has_pending())
    return exists().where(jobs.c.study_uid == instances.c.study_uid, ~over).correlate(instances)


def _is_committed() -> ColumnElement[bool]:
    """Whether the node has committed to storing the outer row's study for longer."""
    kept = committed_studies.c.kept_until >= datetime.now(UTC)
    of_study = committed_studies.c.study_uid == instances.c.study_uid
    return exists().where(of_study, kept).correlate(instances)


def _is_clearable(connection: Connection, study_uid: str, moment: datetime) -> bool:
    wanted = exists().where(
        instances.c.study_uid == study_uid,
        or_(instances.c.received_at >= moment, _busy_since(moment), _is_committed()),
    )
    return not connection.execute(select(wanted)).scalar()


def _instance_files(connection: Connection, study_uid: str) -> Sequence[str]:
    names = select(instances.c.file_name).where(instances.c.study_uid == study_uid)
    return connection.execute(names).scalars().all()


def _result_files(connection: Connection, study_uid: str) -> Sequence[str]:
    """Files of the results and key images of a study."""
    of_study = _jobs_of(connection, study_uid)
    names = select(results.c.file_name).where(
        results.c.job_id.in_(of_study), results.c.file_name != ""
    )
    stored = connection.execute(names).scalars()
    return (*stored, *analysis_records.picture_files(connection, of_study))


def _remove_rows(connection: Connection, study_uid: str) -> None:
    connection.execute(delete(instances).where(instances.c.study_uid == study_uid))
    refusals.forget(connection, study_uid)
    of_study = _jobs_of(connection, study_uid)
    connection.execute(update(results).where(results.c.job_id.in_(of_study)).values(file_name=""))
    analysis_records.forget_pictures(connection, of_study)
    received_copies.forget(connection, study_uid)
    forget_series(connection, study_uid)
    study_attributes_table.forget(connection, study_uid)
    connection.execute(delete(committed_studies).where(committed_studies.c.study_uid == study_uid))


def _jobs_of(connection: Connection, study_uid: str) -> Select[int]:
    """Jobs of a study, and of studies whose images have all been moved to it."""
    moved = [
        former
        for former in former_studies_in(connection, study_uid)
        if not _instance_files(connection, former)
    ]
    return select(jobs.c.job_id).where(jobs.c.study_uid.in_([study_uid, *moved]))
