"""Jobs: lists, history, results and actions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints
from starlette.responses import PlainTextResponse

from sij_node.config.profiles import Language
from sij_node.domain.job import Job, State
from sij_node.domain.job_list import JobFilter
from sij_node.operate.admin import Admin
from sij_node.web.api.parameters import (
    AnalysisBody,
    BulkBody,
    Cursor,
    JobNumber,
    Limit,
    PatientBody,
    PriorityBody,
    RedeliveryBody,
    Title,
    Uid,
    VerdictsBody,
)
from sij_node.web.api.responses import (
    BulkResponse,
    HistoryResponse,
    JobResponse,
    JobsResponse,
    PatientResponse,
    ResultResponse,
    VerdictResponse,
)
from sij_node.web.current_user import Operator, Reader, TheAdmin, Viewer

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
) -> JobsResponse:
    """Matching jobs, newest first."""
    wanted = JobFilter(tuple(state), source or "", find)
    found = admin.jobs(wanted, limit, before=cursor)
    more = len(found.jobs) == limit
    return JobsResponse(
        jobs=_answers(admin, found.jobs),
        total=found.total,
        next_cursor=found.jobs[-1].job_id if more else None,
    )


@router.post("/search")
def jobs_of_patient(person: Operator, admin: TheAdmin, body: PatientBody) -> JobsResponse:
    """Jobs of one patient. The patient ID is not part of the URL; the search is recorded."""
    found = admin.jobs_of_patient(body.patient_id.strip())
    return JobsResponse(jobs=_answers(admin, found.jobs), total=found.total, next_cursor=None)


@router.get("/{job_id}")
def job(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> HistoryResponse:
    """One job with its steps, deliveries and findings."""
    return HistoryResponse.of(admin.study(job_id))


@router.post("/{job_id}/patient")
def reveal_patient(person: Operator, admin: TheAdmin, job_id: JobNumber) -> PatientResponse:
    """The patient ID of a job. Access is recorded."""
    return PatientResponse(patient=admin.patient(job_id))


@router.get("/{job_id}/text", response_class=PlainTextResponse)
def text(
    person: Viewer,
    admin: TheAdmin,
    job_id: JobNumber,
    language: Annotated[
        Language | None, Query(description="That of the sender's output profile by default.")
    ] = None,
) -> str:
    """The findings in full sentences, to be pasted into a report."""
    return str(admin.report_text(job_id, language))


@router.get("/{job_id}/verdicts")
def verdicts(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> list[VerdictResponse]:
    """What readers state about the findings."""
    return [VerdictResponse.of(one) for one in admin.study(job_id).verdicts]


@router.post("/{job_id}/verdicts")
def judge(
    person: Reader, admin: TheAdmin, job_id: JobNumber, body: VerdictsBody
) -> list[VerdictResponse]:
    """Accept, reject or correct findings; nothing that was sent changes."""
    admin.judge(job_id, {one.position: one.stated for one in body.sites})
    if body.accept_others:
        admin.accept_all(job_id)
    return [VerdictResponse.of(one) for one in admin.study(job_id).verdicts]


# ---- results -----------------------------------------------------------------------------------


@router.get("/{job_id}/results")
def results(person: Viewer, admin: TheAdmin, job_id: JobNumber) -> list[ResultResponse]:
    """The objects that a job has produced."""
    return [ResultResponse.of(result) for result in admin.results(job_id)]


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


@router.post("/actions")
def act_on_all(person: Operator, admin: TheAdmin, body: BulkBody) -> BulkResponse:
    """Retry, cancel or redeliver all matching jobs, at most 500 at once, newest first."""
    wanted = JobFilter(body.state, body.source or "", body.find)
    return BulkResponse.model_validate(admin.act_on_all(body.action, wanted))


@router.post("/{job_id}/retry")
def retry(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobResponse:
    """Retry a rejected or failed job; its attempts start over."""
    return JobResponse.of(admin.retry(job_id))


@router.post("/{job_id}/cancel")
def cancel(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobResponse:
    """Cancel a job that is receiving, queued or delivering."""
    return JobResponse.of(admin.cancel(job_id))


@router.post("/{job_id}/try-now")
def try_now(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobResponse:
    """Skip the wait before a job's next attempt."""
    return JobResponse.of(admin.try_now(job_id))


@router.post("/{job_id}/priority")
def set_priority(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: PriorityBody
) -> JobResponse:
    """Set the priority of a job that is receiving or queued."""
    return JobResponse.of(admin.set_priority(job_id, body.priority))


@router.post("/{job_id}/redeliver")
def redeliver(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: RedeliveryBody
) -> JobResponse:
    """Resend a job's results, with the same UIDs."""
    return JobResponse.of(admin.redeliver(job_id, body.destination))


@router.post("/{job_id}/reanalyse", status_code=201)
def reanalyse(
    person: Operator, admin: TheAdmin, job_id: JobNumber, body: AnalysisBody
) -> JobResponse:
    """Open a job that reanalyses the stored study; its results are a revision."""
    return JobResponse.of(admin.reanalyse(job_id, body.weights))


@router.post("/{job_id}/accept-copies")
def accept_copies(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobResponse:
    """Replace the stored images of the study by the corrected or conflicting copies.

    Returns the job that reanalyses the study.
    """
    return JobResponse.of(admin.accept_copies(job_id))


@router.post("/{job_id}/discard-copies")
def discard_copies(person: Operator, admin: TheAdmin, job_id: JobNumber) -> JobResponse:
    """Keep the stored images of the study and discard the copies received later."""
    return JobResponse.of(admin.discard_copies(job_id))


def _answers(admin: Admin, jobs: Sequence[Job]) -> list[JobResponse]:
    """Jobs with the pseudonyms of their patients."""
    pseudonyms = admin.pseudonyms(jobs)
    return [JobResponse.of(job, pseudonyms.get(job.study_uid)) for job in jobs]
