"""Records of analyses for the study page, written with the step that ends the analysis."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, delete, exists, func, insert, select

from models.burden_scores import BurdenName, BurdenScore
from models.findings import Finding, Head, Lesion, OperatingPoint, Position, Region, Side
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture, SeriesUse, UsedNetwork
from sij_node.domain.job import Job
from sij_node.domain.prior_comparison import ComparedPrior
from sij_node.store.database import Database
from sij_node.store.tables import (
    analyses,
    analysis_findings,
    analysis_pictures,
    analysis_series,
    job_from,
    jobs,
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
            asas_met=record.asas_met,
            prior=_prior_values(record.prior),
            burden=[vars(one) for one in record.burden],
        )
    )
    _add(connection, job_id, analysis_series, _numbered(map(vars, record.series)))
    _add(connection, job_id, analysis_findings, _numbered(map(_finding_row, record.findings)))
    pictures = (
        {**vars(each), "seen": list(each.seen), "labels": list(each.labels)}
        for each in record.pictures
    )
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
        "operating_point": finding.operating_point.value,
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
        asas_met=row.asas_met,
        prior=_prior_from(row.prior),
        burden=_burden(row.burden),
    )


def _prior_values(prior: ComparedPrior | None) -> dict[str, Any] | None:
    if prior is None:
        return None
    return {
        "studied": prior.studied,
        "findings": [_finding_row(finding) for finding in prior.findings],
        "other_weights": prior.other_weights,
        "networks": list(prior.networks),
        "burden": [vars(one) for one in prior.burden],
    }


def _prior_from(values: dict[str, Any] | None) -> ComparedPrior | None:
    if values is None:
        return None
    findings = tuple(_finding(**row) for row in values["findings"])
    networks = tuple(values["networks"])
    burden = _burden(values.get("burden"))
    return ComparedPrior(values["studied"], findings, values["other_weights"], networks, burden)


def _burden(rows: Sequence[dict[str, Any]] | None) -> tuple[BurdenScore, ...]:
    """Scores of lesion burden; none in records of earlier versions."""
    return tuple(BurdenScore(**row | {"name": BurdenName(row["name"])}) for row in rows or ())


def _rows(connection: Connection, table: Table, job_id: int) -> Sequence[Row[Any]]:
    ordered = select(table).where(table.c.job_id == job_id).order_by(table.c.place)
    return connection.execute(ordered).all()


def _series_from(row: Row[Any]) -> SeriesUse:
    return SeriesUse(**{name: getattr(row, name) for name in SeriesUse.__dataclass_fields__})


def _finding_from(row: Row[Any]) -> Finding:
    columns = ("side", "lesion", "region", "probability", "threshold", "operating_point")
    return _finding(**{name: getattr(row, name) for name in columns})


def _finding(
    side: str,
    lesion: str,
    region: str,
    probability: float | None,
    threshold: float,
    operating_point: str | None = None,
) -> Finding:
    position = Position(Side(side), Head(Lesion(lesion), Region(region)))
    point = OperatingPoint(operating_point or OperatingPoint.BALANCED)
    return Finding(position, probability, threshold, operating_point=point)


def _picture_from(row: Row[Any]) -> KeyPicture:
    seen, labels = tuple(row.seen), tuple(row.labels or ())
    return KeyPicture(row.place, row.sequence, row.image, seen, row.file_name, labels)


def conclusions_of(
    database: Database, job_ids: Iterable[int]
) -> Mapping[int, tuple[tuple[Finding, ...], bool | None]]:
    """The findings of some jobs, and whether the ASAS criterion is met; only analysed jobs."""
    wanted = list(job_ids)
    findings = select(analysis_findings).where(analysis_findings.c.job_id.in_(wanted))
    met = select(analyses.c.job_id, analyses.c.asas_met).where(analyses.c.job_id.in_(wanted))
    with database.reading() as connection:
        rows = connection.execute(findings.order_by(analysis_findings.c.place)).all()
        asas_met = {row.job_id: row.asas_met for row in connection.execute(met)}
    found: dict[int, tuple[Finding, ...]] = {}
    for row in rows:
        found[row.job_id] = (*found.get(row.job_id, ()), _finding_from(row))
    return {job_id: (findings, asas_met.get(job_id)) for job_id, findings in found.items()}


def analysed_jobs(
    database: Database, since: datetime, until: datetime, source_ae: str = ""
) -> tuple[Job, ...]:
    """Of each study that arrived within a time and has findings, the newest analysed job."""
    wanted = [jobs.c.created_at >= since, jobs.c.created_at < until]
    if source_ae:
        wanted.append(jobs.c.source_ae == source_ae)
    has_findings = exists().where(analysis_findings.c.job_id == jobs.c.job_id)
    newest = select(func.max(jobs.c.job_id)).where(has_findings, *wanted).group_by(jobs.c.study_uid)
    found = select(jobs).where(jobs.c.job_id.in_(newest)).order_by(jobs.c.job_id)
    return tuple(job_from(row) for row in database.rows(found))


def picture_files(connection: Connection, jobs: Select[int]) -> Sequence[str]:
    """File names of the key images of jobs."""
    names = select(analysis_pictures.c.file_name).where(analysis_pictures.c.job_id.in_(jobs))
    return connection.execute(names).scalars().all()


def forget_pictures(connection: Connection, jobs: Select[int]) -> None:
    """Remove the rows of the key images of jobs, once their files were removed."""
    connection.execute(delete(analysis_pictures).where(analysis_pictures.c.job_id.in_(jobs)))


def forget_picture(connection: Connection, file_name: str) -> None:
    """Remove a key image from every record."""
    connection.execute(delete(analysis_pictures).where(analysis_pictures.c.file_name == file_name))
