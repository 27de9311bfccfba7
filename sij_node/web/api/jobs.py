"""Jobs: what is queued, running, done; one with its history; and what can be asked of it."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from sij_node.domain.job import Job, Result, State
from sij_node.domain.job_list import JobFilter
from sij_node.errors import ResultUnknown
from sij_node.operate.admin import Admin
from sij_node.store.job_search import JobSearch
from sij_node.store.stored_instances import read_result
from sij_node.web.api.parameters import (
    AnalysisAsked,
    Cursor,
    JobNumber,
    Limit,
    PatientAsked,
    PriorityAsked,
    RedeliveryAsked,
    Title,
    Uid,
)
from sij_node.web.api.responses import (
    HistoryAnswer,
    JobAnswer,
    JobsAnswer,
    PatientAnswer,
    ResultAnswer,
)
from sij_node.web.current_user import Operator, TheAdmin, Viewer
from sij_node.web.dependencies import Parts, TheParts

router = APIRouter(prefix="/jobs", tags=["jobs"])

Words = Annotated[str, StringConstraints(pattern=r"^[ -~]{0,64}$")]


@router.get("")
def jobs(
    person: Viewer,
    parts: TheParts,
    state: Annotated[list[State], Query(description="Only jobs in these states.")] = [],  # noqa: B006
    source: Annotated[Title | None, Query(description="Only from this AE title.")] = None,
    find: Annotated[
        Words, Query(description="A job's number, or part of a study UID or AE title.")
    ] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobsAnswer:
    """Jobs that fit, the newest first."""
    wanted = JobFilter(tuple(state), source or "", find)
    overview = JobSearch(parts.admin(person.name).table.database)
    found = overview.jobs(wanted, limit, before=cursor)
    more = len(found.jobs) == limit
    return JobsAnswer(
        jobs=_answers(parts, overview, found.jobs),
        total=found.total,
        next_cursor=found.jobs[-1].job_id if more else None,
    )


@router.post("/search")
def jobs_of_patient(person: Operator, parts: TheParts, asked: PatientAsked) -> JobsAnswer:
    """Jobs of one patient, by an identifier that is part of no address. It is noted."""
    admin = parts.admin(person.name)
    overview = JobSearch(admin.table.database)
    found = overview.jobs_of_patient(asked.patient_id.strip(), 500)
    admin.note("search patient", f"{found.total} jobs")
    return JobsAnswer(
        jobs=_answers(parts, overview, found.jobs), total=found.total, next_cursor=None
    )


@router.get("/{job_id}")
def job(person: Viewer, parts: TheParts, job_id: JobNumber) -> HistoryAnswer:
    """One job with its steps, its deliveries and what its analysis saw."""
    admin = parts.admin(person.name)
    history = admin.history(job_id)
    (shown,) = _answers(parts, JobSearch(admin.table.database), [history.job])
    return HistoryAnswer.of(history, admin.table.record(job_id), shown.patient)


@router.post("/{job_id}/patient")
def reveal_patient(person: Operator, parts: TheParts, job_id: JobNumber) -> PatientAnswer:
    """The identifier of a job's patient. It is noted who looked."""
    found = parts.admin(person.name).table.get(job_id)
    return PatientAnswer(patient=parts.reveal(person, found))


# ---- results -----------------------------------------------------------------------------------


@router.get("/{job_id}/results")
def results(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> list[ResultAnswer]:
    """The objects that a job has made or sent."""
    return [ResultAnswer.of(result) for result in _results(admin, job_id)]


@router.get(
    "/{job_id}/results/{sop_instance_uid}",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {}}, "description": "A DICOM file."}},
)
def download(
    person: Operator, parts: TheParts, job_id: JobNumber, sop_instance_uid: Uid
) -> Response:
    """A result as a DICOM file (PS3.10). It is noted who took it."""
    admin = parts.admin(person.name)
    result = _result(admin, job_id, sop_instance_uid)
    content = read_result(parts.spool, result)
    admin.note("download result", f"job {job_id}", result.kind)
    parts.tell_of_access(person, admin.table.get(job_id), f"{result.kind} downloaded")
    name = f"job-{job_id}-{result.kind.replace(' ', '-')}.dcm"
    return Response(
        content,
        media_type="application/dicom",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _results(admin: Admin, job_id: int) -> tuple[Result, ...]:
    deliveries = admin.history(job_id).deliveries
    return tuple({one.result.sop_instance_uid: one.result for one in deliveries}.values())


def _result(admin: Admin, job_id: int, sop_instance_uid: str) -> Result:
    for result in _results(admin, job_id):
        if result.sop_instance_uid == sop_instance_uid:
            return result
    raise ResultUnknown(
        f"Job {job_id} has no result {sop_instance_uid}. Its results are listed at "
        f"/api/v1/jobs/{job_id}/results."
    )


# ---- actions -----------------------------------------------------------------------------------


@router.post("/{job_id}/retry")
def retry(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Queue a rejected or failed job again, with all its attempts."""
    return JobAnswer.of(admin.retry(job_id))


@router.post("/{job_id}/cancel")
def cancel(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Cancel a job that is receiving, queued or delivering."""
    return JobAnswer.of(admin.cancel(job_id))


@router.post("/{job_id}/try-now")
def try_now(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """End the wait before a job's next attempt."""
    return JobAnswer.of(admin.try_now(job_id))


@router.post("/{job_id}/priority")
def set_priority(
    person: Operator, admin: TheAdmin, job_id: JobNumber, asked: PriorityAsked
) -> JobAnswer:
    """Have a job that is receiving or queued analysed sooner or later."""
    return JobAnswer.of(admin.set_priority(job_id, asked.priority))


@router.post("/{job_id}/redeliver")
def redeliver(
    person: Operator, admin: TheAdmin, job_id: JobNumber, asked: RedeliveryAsked
) -> JobAnswer:
    """Send a job's results again, under the same UIDs."""
    return JobAnswer.of(admin.redeliver(job_id, asked.destination))


@router.post("/{job_id}/reanalyse", status_code=201)
def reanalyse(
    person: Operator, admin: TheAdmin, job_id: JobNumber, asked: AnalysisAsked
) -> JobAnswer:
    """Open a job that analyses the stored study again; its results are a revision."""
    return JobAnswer.of(admin.reanalyse(job_id, asked.weights))


def _answers(parts: Parts, overview: JobSearch, found: Iterable[Job]) -> list[JobAnswer]:
    """Jobs, with what stands for their patients."""
    listed = list(found)
    patients = overview.patients(job.study_uid for job in listed)
    hidden = {
        study: parts.pseudonym(patient.patient_id, patient.issuer)
        for study, patient in patients.items()
    }
    return [JobAnswer.of(job, hidden.get(job.study_uid)) for job in listed]
