"""Verdicts in the database: rows are only added, and the newest of a reader counts."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, insert, select, true

from models.findings import Head, Lesion, Position, Presence, Region, Side
from sij_node.domain.verdicts import JudgedSite, Verdict
from sij_node.store.database import Database
from sij_node.store.tables import jobs, verdicts


def add_verdicts(database: Database, job_id: int, given: Iterable[Verdict]) -> None:
    """Add verdicts on the findings of a job."""
    rows = [{"job_id": job_id, **_row(one)} for one in given]
    if rows:
        with database.writing() as connection:
            connection.execute(insert(verdicts), rows)


def verdicts_of(database: Database, job_id: int) -> tuple[Verdict, ...]:
    """The verdicts on a job that count, by reader and site, oldest first."""
    rows = database.rows(_counting(verdicts.c.job_id == job_id))
    return tuple(_verdict_from(row) for row in rows)


def judged_sites(database: Database, since: datetime | None = None) -> tuple[JudgedSite, ...]:
    """All verdicts that count, or those given since a moment, oldest first."""
    recent = true() if since is None else verdicts.c.at >= since
    return tuple(
        JudgedSite(_verdict_from(row), row.job_id, row.study_uid, row.source_ae, row.weights)
        for row in database.rows(_counting(recent))
    )


def _counting(fits: ColumnElement[bool]) -> Select[Any]:
    """The newest row of each job, site and reader, unless it withdraws the verdict."""
    site = (verdicts.c.side, verdicts.c.lesion, verdicts.c.region)
    newest = select(func.max(verdicts.c.verdict_id)).group_by(
        verdicts.c.job_id, verdicts.c.reader, *site
    )
    return (
        select(verdicts, jobs.c.study_uid, jobs.c.source_ae, jobs.c.weights)
        .join(jobs, jobs.c.job_id == verdicts.c.job_id)
        .where(
            fits,
            verdicts.c.verdict_id.in_(newest),
            verdicts.c.stated != Presence.UNDETERMINED.value,
        )
        .order_by(verdicts.c.verdict_id)
    )


def _row(one: Verdict) -> dict[str, Any]:
    return {
        "side": one.position.side.value,
        "lesion": one.position.head.lesion.value,
        "region": one.position.head.region.value,
        "called": one.called.value,
        "stated": one.stated.value,
        "reader": one.reader,
        "at": one.at,
    }


def _verdict_from(row: Row[Any]) -> Verdict:
    position = Position(Side(row.side), Head(Lesion(row.lesion), Region(row.region)))
    return Verdict(position, Presence(row.called), Presence(row.stated), row.reader, row.at)
