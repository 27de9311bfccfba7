"""The charts page: throughput, turnaround time, failed attempts, and the weights in use."""

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from sij_node.web.chart_svg import drawn
from sij_node.web.current_user import TheAdmin, Viewer
from sij_node.web.dependencies import TheParts
from sij_node.web.templating import page
from sij_node.web.view_models.chart_view import Range, Slots, charts

router = APIRouter(prefix="/charts")


@router.get("")
def over_time(
    request: Request,
    person: Viewer,
    admin: TheAdmin,
    parts: TheParts,
    range: str = Range.DAY.value,
) -> Response:
    """Charts of a time range."""
    chosen = next((one for one in Range if one.value == range), Range.DAY)
    slots = Slots.until(parts.clock(), chosen)
    events = admin.chart_events(slots.begins[0])
    return page(
        request,
        "charts.html",
        person=person,
        ranges=[one.value for one in Range],
        chosen=chosen.value,
        charts=[
            (chart, Markup(drawn(chart)))  # noqa: S704 - its words are escaped
            for chart in charts(events, slots)
        ],
        weights=admin.weights_used(),
    )
