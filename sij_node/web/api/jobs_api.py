"""Jobs: lists, history, results and actions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from sij_node.domain.job import Job, State
from sij_node.domain.job_list import JobFilter
from sij_node.operate.admin import Admin
from sij_node.web.api.parameters import (
    AnalysisBody,
    Cursor,
    JobNumber,
    Limit,
    PatientBody,
    PriorityBody,
    RedeliveryBody,
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

router = APIRouter(prefix="/jobs", tags=["jobs"])

Words = Annotated[str, StringConstraints(pattern=r"^[ -~]{0,64}$")]


@router.get("")
def jobs(
    person: Viewer,
    admin: TheAdmin,
    state: Annotated[list[State], Query(description="Only jobs in these states.")] = [],  # noqa: B006
    source: Annotated[Title | None, Query(description="Only from this AE title.")] = None,
    find: Annotated[
        Words, Query(description="A job number, or part of a study UID or AE title.")
    ] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobsAnswer:
    """Matching jobs, newest first."""
    wanted = JobFilter(tuple(state), source or "", find)
    found = admin.jobs(wanted, limit, before=cursor)
    more = len(found.jobs) == limit
    return JobsAnswer(
        jobs=_answers(admin, found.jobs),
        total=found.total,
        next_cursor=found.jobs[-1].job_id if more else None,
    )


@router.post("/search")
def jobs_of_patient(person: Operator, admin: TheAdmin, body: PatientBody) -> JobsAnswer:
    """Jobs of one patient. The patient ID is not part of the URL; the search is recorded."""
    found = admin.jobs_of_patient(body.patient_id.strip())
    return JobsAnswer(jobs=_answers(admin, found.jobs), total=found.total, next_cursor=None)


@router.get("/{job_id}")
def job(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> HistoryAnswer:
    """One job with its steps, deliveries and findings."""
    return HistoryAnswer.of(admin.study(job_id))


@router.post("/{job_id}/patient")
def reveal_patient(person: Operator, admin: TheAdmin, job_id: JobNumber) -> PatientAnswer:
    """The patient ID of a job. Access is recorded."""
    return PatientAnswer(patient=admin.patient(job_id))


# ---- results -----------------------------------------------------------------------------------


@router.get("/{job_id}/results")
def results(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> list[ResultAnswer]:
    """The objects that a job has produced."""
    return [ResultAnswer.of(result) for result in admin.results(job_id)]


@router.get(
    "/{job_id}/results/{sop_instance_uid}",
    response_class=Response,
    responses={200: {"content": {"application/dicom": {}}, "description": "A DICOM file."}},
)
def download(
    person: Operator, admin: TheAdmin, job_id: JobNumber, sop_instance_uid: Uid
) -> Response:
    """A result as a DICOM file (PS3.10). The download is recorded."""
    result, content = admin.result_file(job_id, sop_instance_uid)
    name = f"job-{job_id}-{result.kind.replace(' ', '-')}.dcm"
    return Response(
        content,
        media_type="application/dicom",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


# ---- actions -----------------------------------------------------------------------------------


@router.post("/{job_id}/retry")
def retry(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Retry a rejected or failed job; its attempts start over."""
    return JobAnswer.of(admin.retry(job_id))


@router.post("/{job_id}/cancel")
def cancel(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Cancel a job that is receiving, queued or delivering."""
    return JobAnswer.of(admin.cancel(job_id))


@router.post("/{job_id}/try-now")
def try_now(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Skip the wait before a job's next attempt."""
    return JobAnswer.of(admin.try_now(job_id))


@router.post("/{job_id}/priority")
def set_priority(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: PriorityBody
) -> JobAnswer:
    """Set the priority of a job that is receiving or queued."""
    return JobAnswer.of(admin.set_priority(job_id, body.priority))


@router.post("/{job_id}/redeliver")
def redeliver(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: RedeliveryBody
) -> JobAnswer:
    """Resend a job's results, with the same UIDs."""
    return JobAnswer.of(admin.redeliver(job_id, body.destination))


@router.post("/{job_id}/reanalyse", status_code=201)
def reanalyse(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: AnalysisBody
) -> JobAnswer:
    """Open a job that reanalyses the stored study; its results are a revision."""
    return JobAnswer.of(admin.reanalyse(job_id, body.weights))


@router.post("/{job_id}/accept-copies")
def accept_copies(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Put corrected or conflicting copies in the place of the study's stored images.

    The answer is the job that analyses the study again.
    """
    return JobAnswer.of(admin.accept_copies(job_id))


@router.post("/{job_id}/discard-copies")
def discard_copies(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobAnswer:
    """Keep the study's stored images and discard the copies that were received later."""
    return JobAnswer.of(admin.discard_copies(job_id))


def _answers(admin: Admin, jobs: Sequence[Job]) -> list[JobAnswer]:
    """Jobs with the pseudonyms of their patients."""
    pseudonyms = admin.pseudonyms(jobs)
    return [JobAnswer.of(job, pseudonyms.get(job.study_uid)) for job in jobs]
