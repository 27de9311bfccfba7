"""Records of analyses for the study page, written with the step that ends the analysis."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, delete, insert, select

from models.findings import Finding, Head, Lesion, Position, Region, Side
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture, SeriesUse, UsedNetwork
from sij_node.store.database import Database
from sij_node.store.tables import (
    analyses,
    analysis_findings,
    analysis_pictures,
    analysis_series,
)

_PARTS = (analysis_series, analysis_findings, analysis_pictures, analyses)


def put_record(connection: Connection, job_id: int, record: AnalysisRecord) -> None:
    """Store the record of a job's analysis; it replaces an earlier one."""
    for table in _PARTS:
        connection.execute(delete(table).where(table.c.job_id == job_id))
    connection.execute(
        insert(analyses).values(
            job_id=job_id,
            networks=[vars(network) for network in record.networks],
            remarks=list(record.remarks),
            figures=dict(record.figures),
        )
    )
    _add(connection, job_id, analysis_series, _numbered(map(vars, record.series)))
    _add(connection, job_id, analysis_findings, _numbered(map(_finding_row, record.findings)))
    pictures = ({**vars(each), "seen": list(each.seen)} for each in record.pictures)
    _add(connection, job_id, analysis_pictures, pictures)


def _numbered(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return ({"place": place, **row} for place, row in enumerate(rows))


def _add(connection: Connection, job_id: int, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    of_job = [{"job_id": job_id, **row} for row in rows]
    if of_job:
        connection.execute(insert(table), of_job)


def _finding_row(finding: Finding) -> dict[str, Any]:
    return {
        "side": finding.position.side.value,
        "lesion": finding.position.head.lesion.value,
        "region": finding.position.head.region.value,
        "probability": finding.probability,
        "threshold": finding.threshold,
    }


def record_of(database: Database, job_id: int) -> AnalysisRecord | None:
    """The record of a job's last analysis; None if there is none.

    It does not contain finding locations; the key images show them.
    """
    with database.reading() as connection:
        return _record(connection, job_id)


def _record(connection: Connection, job_id: int) -> AnalysisRecord | None:
    row = connection.execute(select(analyses).where(analyses.c.job_id == job_id)).one_or_none()
    if row is None:
        return None
    return AnalysisRecord(
        series=tuple(_series_from(one) for one in _rows(connection, analysis_series, job_id)),
        findings=tuple(_finding_from(one) for one in _rows(connection, analysis_findings, job_id)),
        networks=tuple(UsedNetwork(**one) for one in row.networks),
        remarks=tuple(row.remarks),
        pictures=tuple(_picture_from(one) for one in _rows(connection, analysis_pictures, job_id)),
        figures=row.figures,
    )


def _rows(connection: Connection, table: Table, job_id: int) -> Sequence[Row[Any]]:
    ordered = select(table).where(table.c.job_id == job_id).order_by(table.c.place)
    return connection.execute(ordered).all()


def _series_from(row: Row[Any]) -> SeriesUse:
    return SeriesUse(**{name: getattr(row, name) for name in SeriesUse.__dataclass_fields__})


def _finding_from(row: Row[Any]) -> Finding:
    head = Head(Lesion(row.lesion), Region(row.region))
    return Finding(Position(Side(row.side), head), row.probability, row.threshold)


def _picture_from(row: Row[Any]) -> KeyPicture:
    return KeyPicture(row.place, row.sequence, row.image, tuple(row.seen), row.file_name)


def picture_files(connection: Connection, jobs: Select[int]) -> Sequence[str]:
    """File names of the key images of jobs."""
    names = select(analysis_pictures.c.file_name).where(analysis_pictures.c.job_id.in_(jobs))
    return connection.execute(names).scalars().all()


def forget_pictures(connection: Connection, jobs: Select[int]) -> None:
    """Remove the rows of the key images of jobs, once their files were removed."""
    connection.execute(delete(analysis_pictures).where(analysis_pictures.c.job_id.in_(jobs)))
