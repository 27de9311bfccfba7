"""The study page: findings, key images, deliveries, history and actions."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request, Response
from markupsafe import Markup
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, RedirectResponse

from models.findings import POSITIONS, Presence
from sij_node.config.user_roles import Role
from sij_node.domain.job import Job
from sij_node.domain.users import CurrentUser
from sij_node.operate.admin import Admin
from sij_node.web.api.parameters import JobNumber
from sij_node.web.current_user import Operator, PollingViewer, Reader, TheAdmin, Viewer
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.pages.live_updates import full_page, live_fragment
from sij_node.web.templating import page
from sij_node.web.view_models.joint_svg import drawn_joints, legend
from sij_node.web.view_models.queue_view import Pace, expected
from sij_node.web.view_models.study_view import StudyPage, study_page

router = APIRouter(prefix="/jobs/{job_id}")


class ActionForm(BaseModel):
    """The fields of all action forms; each form sends its own."""

    priority: Annotated[int, Field(ge=0, le=9)] = 5
    destination: Annotated[str, Field(max_length=64)] = ""
    weights: Annotated[str, Field(max_length=64)] = ""


class VerdictForm(BaseModel):
    """What a reader states about each of `POSITIONS`; `others` accepts the remaining calls."""

    stated: Annotated[list[Presence], Field(min_length=len(POSITIONS), max_length=len(POSITIONS))]
    others: Annotated[str, Field(max_length=8)] = ""


ACTIONS: Mapping[str, tuple[Callable[[Admin, int, ActionForm], Job], str]] = {
    "retry": (lambda admin, job, _: admin.retry(job), "Retry requested."),
    "cancel": (lambda admin, job, _: admin.cancel(job), "Cancelled."),
    "try-now": (lambda admin, job, _: admin.try_now(job), "Next attempt starts now."),
    "priority": (lambda admin, job, form: admin.set_priority(job, form.priority), "Priority set."),
    "redeliver": (
        lambda admin, job, form: admin.redeliver(job, form.destination or None),
        "Resend requested.",
    ),
    "reanalyse": (
        lambda admin, job, form: admin.reanalyse(job, form.weights),
        "Reanalysis requested; this is the new job.",
    ),
    "accept-copies": (
        lambda admin, job, _: admin.accept_copies(job),
        "Copies accepted; this job analyses the study again.",
    ),
    "discard-copies": (lambda admin, job, _: admin.discard_copies(job), "Copies discarded."),
}
"""What each action does, by its name in the URL, and the message afterwards."""
ActionName = Annotated[str, Path(pattern=f"^({'|'.join(ACTIONS)})$")]
PICTURES_TAKE = timedelta(minutes=1)
"""For this long after its last step, a finished study's page waits for key images."""


@router.get("")
def study(
    request: Request, person: Viewer, parts: TheParts, job_id: JobNumber, did: str = ""
) -> Response:
    """The study."""
    content = _content(parts, person, job_id)
    content["did"] = _did(did, content["shown"])
    return full_page(request, "study.html", "study_live.html", person, **content)


@router.get("/now")
def study_now(
    request: Request, person: PollingViewer, parts: TheParts, job_id: JobNumber
) -> Response:
    """The live part of the page."""
    content = _content(parts, person, job_id) | {"did": ""}
    return live_fragment(request, "study_live.html", person, **content)


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


@router.post("/verdicts")
def judge(
    person: Reader, admin: TheAdmin, job_id: JobNumber, form: Annotated[VerdictForm, Form()]
) -> Response:
    """Keep a reader's verdicts, and show the study again."""
    stated = zip(POSITIONS, form.stated, strict=True)
    admin.judge(job_id, dict(stated))
    if form.others:
        admin.accept_all(job_id)
    return RedirectResponse(f"/jobs/{job_id}?did=verdicts#fold-verdicts", 303)


@router.post("/{action}")
def act(
    person: Operator,
    admin: TheAdmin,
    job_id: JobNumber,
    action: ActionName,
    form: Annotated[ActionForm, Form()],
) -> Response:
    """Carry out an action on a job, and show the job that results."""
    do, _ = ACTIONS[action]
    return RedirectResponse(f"/jobs/{do(admin, job_id, form).job_id}?did={action}", 303)


# ---- what is shown -----------------------------------------------------------------------------


def _did(action: str, shown: StudyPage) -> str:
    """The message after an action."""
    if action == "verdicts":
        return "Verdicts saved."
    if action not in ACTIONS:
        return ""
    note = shown.timeline[0].note if action == "redeliver" and shown.timeline else ""
    return f"{ACTIONS[action][1]} {note and f'Results are sent {note}.'}".strip()


def _content(parts: Parts, person: CurrentUser, job_id: int) -> dict[str, Any]:
    admin, now = parts.admin_for(person), parts.clock()
    details = admin.study(job_id, shows_key_images=True)
    job = details.history.job
    pace = Pace.of(admin.queue_order(), admin.analysis_seconds())
    shown = study_page(
        details,
        expected=expected(job, now, pace, parts.config.study),
        weights=admin.weights,
        reader=person.name,
        now=now,
    )
    is_drawing = details.is_drawing and now - job.changed_at < PICTURES_TAKE
    return {
        "shown": shown,
        "viewer": parts.config.web.viewer_of(job.study_uid),
        "follows": is_drawing or not shown.is_over,
        "drawing": Markup(drawn_joints(shown.findings)),  # noqa: S704 - holds no foreign text
        "legend": legend(),
        "may_act": person.role.includes(Role.OPERATOR),
        "may_judge": person.role.includes(Role.READER),
    }
