"""One study: everything about it, its pictures, and what can be done."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request, Response
from markupsafe import Markup
from starlette.responses import FileResponse, RedirectResponse

from sij_node.config.roles import Role
from sij_node.domain.analysis_record import AnalysisRecord, SeriesUse
from sij_node.domain.job import Job, State
from sij_node.domain.users import CurrentUser
from sij_node.errors import SpoolUnavailable
from sij_node.operate.admin import Admin, JobHistory
from sij_node.queue.completeness import image_series, series_uses
from sij_node.store.job_search import JobSearch
from sij_node.store.stored_instances import read_header
from sij_node.web.api.parameters import JobNumber
from sij_node.web.current_user import Operator, TheAdmin, Viewer, Watcher
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.pages.live_updates import again, whole
from sij_node.web.pages.queue import pseudonym_of
from sij_node.web.templating import page
from sij_node.web.view_models.joints import drawn_joints, legend
from sij_node.web.view_models.queue import Pace, expected
from sij_node.web.view_models.study import study_page

router = APIRouter(prefix="/jobs/{job_id}")

DID = {
    "retry": "Queued again.",
    "cancel": "Cancelled.",
    "priority": "The priority is set.",
    "try-now": "The wait is over; it is tried next.",
    "redeliver": "The results will be sent again.",
    "reanalyse": "This job analyses the stored study again.",
}
"""What is said after an action, by its name in the address."""
PICTURES_TAKE = timedelta(minutes=1)
"""So long after its last step a finished study's page still waits for pictures."""
Word = Annotated[str, Form(max_length=64)]


@router.get("")
def study(
    request: Request, person: Viewer, parts: TheParts, job_id: JobNumber, did: str = ""
) -> Response:
    """The study."""
    content = _content(parts, person, job_id) | {"did": DID.get(did, "")}
    return whole(request, "study.html", "study_live.html", person, **content)


@router.get("/now")
def study_now(request: Request, person: Watcher, parts: TheParts, job_id: JobNumber) -> Response:
    """The study as it is now, for a page that shows it."""
    content = _content(parts, person, job_id) | {"did": ""}
    return again(request, "study_live.html", person, **content)


@router.get("/pictures/{name}")
def picture(
    person: Viewer, admin: TheAdmin, parts: TheParts, job_id: JobNumber, name: str
) -> Response:
    """A slice with contours and rings; there is no text of the patient in it."""
    record = admin.table.record(job_id)
    if record is None or name not in {one.file_name for one in record.pictures}:
        raise HTTPException(404)
    path = parts.spool.path_of_result(name)
    if not path.is_file():  # it is drawn within seconds after the results were stored
        raise HTTPException(404)
    return FileResponse(path, media_type="image/png")


@router.post("/patient")
def reveal(request: Request, person: Operator, parts: TheParts, job_id: JobNumber) -> Response:
    """The patient's identifier; that it was looked at is noted."""
    admin = parts.admin(person.name)
    job = admin.table.get(job_id)
    patient = parts.reveal(person, job)
    return page(
        request,
        "patient.html" if "hx-request" in request.headers else "revealed.html",
        person=person,
        revealed=patient,
        shown={"job": job},
    )


# ---- actions -----------------------------------------------------------------------------------


@router.post("/retry")
def retry(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """Queue a rejected or failed job again."""
    return _done(admin.retry(job_id), "retry")


@router.post("/cancel")
def cancel(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """Cancel a job."""
    return _done(admin.cancel(job_id), "cancel")


@router.post("/try-now")
def try_now(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """End the wait before a job's next attempt."""
    return _done(admin.try_now(job_id), "try-now")


@router.post("/priority")
def priority(
    person: Operator,
    admin: TheAdmin,
    job_id: JobNumber,
    priority: Annotated[int, Form(ge=0, le=9)],
) -> Response:
    """Have a job analysed sooner or later."""
    return _done(admin.set_priority(job_id, priority), "priority")


@router.post("/redeliver")
def redeliver(
    person: Operator, admin: TheAdmin, job_id: JobNumber, destination: Word = ""
) -> Response:
    """Have the results sent again."""
    return _done(admin.redeliver(job_id, destination or None), "redeliver")


@router.post("/reanalyse")
def reanalyse(person: Operator, admin: TheAdmin, job_id: JobNumber, weights: Word = "") -> Response:
    """Open a job that analyses the stored study again."""
    return _done(admin.reanalyse(job_id, weights), "reanalyse")


def _done(job: Job, name: str) -> Response:
    return RedirectResponse(f"/jobs/{job.job_id}?did={name}", 303)


# ---- what is shown -----------------------------------------------------------------------------


def _content(parts: Parts, person: CurrentUser, job_id: int) -> dict[str, Any]:
    admin = parts.admin(person.name)
    overview = JobSearch(admin.table.database)
    history = admin.history(job_id)
    job = history.job
    patients = overview.patients([job.study_uid])
    now = parts.clock()
    pace = Pace.of(overview.queue_order(), overview.analysis_seconds())
    record = admin.table.record(job_id)
    drawn = record and _with_pictures_drawn(parts, record)
    shown = study_page(
        history,
        drawn,
        _series_so_far(parts, admin, history),
        overview.same_study(job.study_uid),
        patient=pseudonym_of(parts, patients, job),
        expected=expected(job, now, pace, parts.config.study),
        weights=admin.weights,
        now=now,
    )
    awaited = record != drawn and now - job.changed_at < PICTURES_TAKE
    return {
        "shown": shown,
        "follows": awaited or not shown.is_over,
        "drawing": Markup(drawn_joints(shown.findings)),  # noqa: S704 - holds no foreign text
        "legend": legend(),
        "may_act": person.role.includes(Role.OPERATOR),
    }


def _with_pictures_drawn(parts: Parts, record: AnalysisRecord) -> AnalysisRecord:
    """Without the pictures that are still being drawn."""
    there = (one for one in record.pictures if parts.spool.path_of_result(one.file_name).is_file())
    return replace(record, pictures=tuple(there))


_NOT_ANALYSED = (State.RECEIVING, State.QUEUED, State.ANALYSING)


def _series_so_far(parts: Parts, admin: Admin, history: JobHistory) -> tuple[SeriesUse, ...]:
    """What the stored images would be, of a study that is not analysed yet."""
    if history.job.state not in _NOT_ANALYSED:
        return ()
    images = image_series(admin.table.instances(history.job.study_uid))
    try:
        return series_uses(images, partial(read_header, parts.spool))
    except SpoolUnavailable:  # the health says so; everything else is still to be seen
        return ()
