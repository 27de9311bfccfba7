"""The study page: findings, key images, deliveries, history and actions."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from markupsafe import Markup
from starlette.responses import FileResponse, RedirectResponse

from sij_node.config.roles import Role
from sij_node.domain.job import Job
from sij_node.domain.users import CurrentUser
from sij_node.web.api.parameters import JobNumber
from sij_node.web.current_user import Operator, TheAdmin, Viewer, Watcher
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.pages.live_updates import again, whole
from sij_node.web.templating import page
from sij_node.web.view_models.joint_svg import drawn_joints, legend
from sij_node.web.view_models.queue_view import Pace, expected
from sij_node.web.view_models.study_view import study_page

router = APIRouter(prefix="/jobs/{job_id}")

DID = {
    "retry": "Retry requested.",
    "cancel": "Cancelled.",
    "priority": "Priority set.",
    "try-now": "Next attempt starts now.",
    "redeliver": "Resend requested.",
    "reanalyse": "Reanalysis requested; this is the new job.",
}
"""Shown after an action, by its name in the URL."""
PICTURES_TAKE = timedelta(minutes=1)
"""For this long after its last step, a finished study's page waits for key images."""
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
    """The live part of the page."""
    content = _content(parts, person, job_id) | {"did": ""}
    return again(request, "study_live.html", person, **content)


@router.get("/pictures/{name}")
def picture(person: Viewer, admin: TheAdmin, job_id: JobNumber, name: str) -> Response:
    """A key image: a slice with contours and rings, without any text about the patient."""
    return FileResponse(admin.key_image(job_id, name), media_type="image/png")


@router.post("/patient")
def reveal(request: Request, person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """The patient ID; that it was revealed is recorded."""
    return page(
        request,
        "patient.html" if "hx-request" in request.headers else "revealed.html",
        person=person,
        revealed=admin.patient(job_id),
        shown={"job": {"job_id": job_id}},
    )


# ---- actions -----------------------------------------------------------------------------------


@router.post("/retry")
def retry(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """Retry a rejected or failed job."""
    return _done(admin.retry(job_id), "retry")


@router.post("/cancel")
def cancel(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """Cancel a job."""
    return _done(admin.cancel(job_id), "cancel")


@router.post("/try-now")
def try_now(person: Operator, admin: TheAdmin, job_id: JobNumber) -> Response:
    """Skip the wait before a job's next attempt."""
    return _done(admin.try_now(job_id), "try-now")


@router.post("/priority")
def priority(
    person: Operator,
    admin: TheAdmin,
    job_id: JobNumber,
    priority: Annotated[int, Form(ge=0, le=9)],
) -> Response:
    """Set the priority of a job."""
    return _done(admin.set_priority(job_id, priority), "priority")


@router.post("/redeliver")
def redeliver(
    person: Operator, admin: TheAdmin, job_id: JobNumber, destination: Word = ""
) -> Response:
    """Resend the results."""
    return _done(admin.redeliver(job_id, destination or None), "redeliver")


@router.post("/reanalyse")
def reanalyse(person: Operator, admin: TheAdmin, job_id: JobNumber, weights: Word = "") -> Response:
    """Open a job that reanalyses the stored study."""
    return _done(admin.reanalyse(job_id, weights), "reanalyse")


def _done(job: Job, name: str) -> Response:
    return RedirectResponse(f"/jobs/{job.job_id}?did={name}", 303)


# ---- what is shown -----------------------------------------------------------------------------


def _content(parts: Parts, person: CurrentUser, job_id: int) -> dict[str, Any]:
    admin, now = parts.admin_for(person), parts.clock()
    details = admin.study(job_id, shows_key_images=True)
    job = details.history.job
    pace = Pace.of(admin.queue_order(), admin.analysis_seconds())
    shown = study_page(
        details,
        expected=expected(job, now, pace, parts.config.study),
        weights=admin.weights,
        now=now,
    )
    is_drawing = details.is_drawing and now - job.changed_at < PICTURES_TAKE
    return {
        "shown": shown,
        "follows": is_drawing or not shown.is_over,
        "drawing": Markup(drawn_joints(shown.findings)),  # noqa: S704 - holds no foreign text
        "legend": legend(),
        "may_act": person.role.includes(Role.OPERATOR),
    }
