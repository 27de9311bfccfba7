"""Figures of the first and the latest studies of each sender, for drift detection."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from models.findings import Lesion
from sij_node.domain.drift import RECENT_STUDIES, REFERENCE_STUDIES, Histories, positive, probable
from sij_node.store.database import Database
from sij_node.store.tables import analyses, analysis_findings, jobs


def histories(database: Database, senders: Sequence[str]) -> Mapping[str, Histories]:
    """The first and the latest analysed studies of each sender.

    Findings are compared only between the same weights: `Histories.reference` contains findings of
    the first studies analysed with the weights of the latest one.
    """
    with database.reading() as connection:
        return {sender: _history(connection, sender) for sender in senders}


def _history(connection: Connection, sender: str) -> Histories:
    newest = connection.execute(_analysed(sender, newest_first=True)).all()
    first = connection.execute(_analysed(sender)).all()
    weights = newest[0].weights if newest else ""
    same = connection.execute(_analysed(sender).where(jobs.c.weights == weights)).all()
    found = _findings(connection, [row.job_id for row in (*same, *newest)])
    recent = [{**row.figures, **found.get(row.job_id, {})} for row in newest]
    inputs = [dict(row.figures) for row in first]
    return Histories([*inputs, *(found[row.job_id] for row in same if row.job_id in found)], recent)


def _analysed(sender: str, *, newest_first: bool = False) -> Select[Any]:
    order = jobs.c.job_id.desc() if newest_first else jobs.c.job_id
    return (
        select(jobs.c.job_id, jobs.c.weights, analyses.c.figures)
        .join(analyses, analyses.c.job_id == jobs.c.job_id)
        .where(jobs.c.source_ae == sender, jobs.c.weights != "")
        .order_by(order)
        .limit(RECENT_STUDIES if newest_first else REFERENCE_STUDIES)
    )


def _findings(connection: Connection, job_ids: Sequence[int]) -> Mapping[int, dict[str, float]]:
    """For each job and lesion: whether it is present, and its mean probability."""
    finding = analysis_findings.c
    is_present = case((finding.probability >= finding.threshold, 1), else_=0)
    rows = connection.execute(
        select(
            finding.job_id,
            finding.lesion,
            func.max(is_present).label("present"),
            func.avg(finding.probability).label("probability"),
        )
        .where(finding.job_id.in_(job_ids), finding.probability.is_not(None))
        .group_by(finding.job_id, finding.lesion)
    )
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        lesion = Lesion(row.lesion)
        of_job = found.setdefault(row.job_id, {})
        of_job[positive(lesion)] = float(row.present)
        of_job[probable(lesion)] = float(row.probability)
    return found
