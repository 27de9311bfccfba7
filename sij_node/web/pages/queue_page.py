"""The queue page, which is the start page."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response

from sij_node.config.user_roles import Role
from sij_node.domain.job import JobAction
from sij_node.domain.job_list import JobFilter, JobPage
from sij_node.domain.users import CurrentUser
from sij_node.operate.admin import Admin
from sij_node.web.current_user import Operator, PollingViewer, Viewer
from sij_node.web.dependencies import Parts, TheParts
from sij_node.web.pages.live_updates import full_page, live_fragment
from sij_node.web.templating import page as show
from sij_node.web.view_models.node_problems import node_problems, running_workers
from sij_node.web.view_models.queue_view import (
    ROWS,
    JobRow,
    Pace,
    bulk_actions,
    job_row,
    query_of,
    queue_page,
    wanted_from,
)

router = APIRouter()

Short = Annotated[str, Query(max_length=64)]
ShortField = Annotated[str, Form(max_length=64)]
Number = Annotated[int, Query(ge=1, le=1_000_000)]


@router.get("/")
def queue(
    request: Request,
    person: Viewer,
    parts: TheParts,
    state: Short = "",
    source: Short = "",
    find: Short = "",
    order: Short = "",
    page: Number = 1,
) -> Response:
    """The queue."""
    content = _content(parts, person, wanted_from(state, source, find, order), page)
    return full_page(request, "queue.html", "queue_live.html", person, **content)


@router.get("/now")
def queue_now(
    request: Request,
    person: PollingViewer,
    parts: TheParts,
    state: Short = "",
    source: Short = "",
    find: Short = "",
    order: Short = "",
    page: Number = 1,
) -> Response:
    """The live part of the page."""
    content = _content(parts, person, wanted_from(state, source, find, order), page)
    return live_fragment(request, "queue_live.html", person, **content)


@router.post("/patient")
def jobs_of_patient(
    request: Request,
    person: Operator,
    parts: TheParts,
    patient_id: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Jobs of a patient or order; patient ID and accession number are never part of a URL."""
    admin = parts.admin_for(person)
    rows = _rows(parts, admin, admin.jobs_of_patient(patient_id.strip(), ROWS), None)
    return show(
        request,
        "patient_jobs.html",
        person=person,
        shown={"rows": rows, "orders": {}},
        may_act=True,
        empty="No studies with this patient ID or accession number. Images may have been cleared.",
    )


@router.post("/all-jobs")
def act_on_all(
    request: Request,
    person: Operator,
    parts: TheParts,
    action: Annotated[JobAction, Form()],
    confirmed: Annotated[bool, Form()],
    state: ShortField = "",
    source: ShortField = "",
    find: ShortField = "",
) -> Response:
    """Carry out an action on all jobs of the list."""
    wanted = wanted_from(state, source, find)
    outcome = parts.admin_for(person).act_on_all(action, wanted) if confirmed else None
    back = query_of(wanted)
    return show(request, "bulk_outcome.html", person=person, outcome=outcome, back=back)


def _content(parts: Parts, person: CurrentUser, wanted: JobFilter, page: int) -> dict[str, Any]:
    admin = parts.admin_for(person)
    report = admin.health()
    counts = admin.counts()
    found = admin.jobs(wanted, ROWS, (page - 1) * ROWS)
    rows = _rows(parts, admin, found, running_workers(report, parts.config.health))
    return {
        "shown": queue_page(wanted, page, found, counts, admin.senders(), rows),
        "problems": node_problems(report.conditions, counts),
        "ae_title": parts.config.node.ae_title,
        "empty": "No matching jobs.",
        "may_act": person.role.includes(Role.OPERATOR),
        "bulk_actions": bulk_actions(wanted),
    }


def _rows(parts: Parts, admin: Admin, found: JobPage, workers: int | None) -> tuple[JobRow, ...]:
    pseudonyms = admin.pseudonyms(found.jobs)
    pace = Pace.of(admin.queue_order(), admin.analysis_seconds(), workers)
    now, results = parts.clock(), admin.conclusions(found.jobs)
    attributes = admin.study_attributes(found.jobs)
    return tuple(
        job_row(
            job,
            pseudonyms.get(job.study_uid, ""),
            now,
            pace,
            parts.config.study,
            " ".join(results.get(job.job_id, ())),
            parts.config.web.viewer_of(job.study_uid),
            attributes.get(job.study_uid),
        )
        for job in found.jobs
    )
