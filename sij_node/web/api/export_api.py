"""Exports for research, without anything that identifies a patient."""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from typing import Annotated

from fastapi import APIRouter, Query, Response

from sij_node.domain.research_table import ExportedDates, ExportedStudies
from sij_node.web.api.parameters import Title
from sij_node.web.current_user import Administrator, TheAdmin

router = APIRouter(prefix="/exports", tags=["exports"])

Day = Annotated[date | None, Query(description="Day in UTC on which studies arrived.")]
_EARLIEST, _LATEST = date(1900, 1, 1), date(9998, 12, 31)


@router.get(
    "/scores.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "A row for each study."}},
)
def scores(
    person: Administrator,
    admin: TheAdmin,
    since: Day = None,
    until: Day = None,
    source: Annotated[Title | None, Query(description="Only from this AE title.")] = None,
    dates: ExportedDates = ExportedDates.SHIFTED,
) -> Response:
    """Scores of all analysed studies under pseudonyms. The export is recorded."""
    first, last = since or _EARLIEST, min(until or _LATEST, _LATEST)
    wanted = ExportedStudies(_midnight(first), _midnight(last + timedelta(1)), source or "", dates)
    return Response(
        _as_csv(admin.export_scores(wanted)),
        media_type="text/csv",
        headers={"content-disposition": 'attachment; filename="scores.csv"'},
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _as_csv(rows: Iterable[Sequence[str]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
