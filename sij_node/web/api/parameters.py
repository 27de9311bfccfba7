"""Parameters and request bodies, all within bounds."""

from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models.findings import POSITIONS, Head, Lesion, Position, Presence, Region, Side
from sij_node.domain.job import JobAction, State

JobNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of entries.")]
Cursor = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="next_cursor of the previous response.")
]
Title = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,16}$")]
"""An AE title."""
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,200}$")]
"""One line of text."""


class RequestBody(BaseModel):
    """A request body; unknown keys are an error."""

    model_config = ConfigDict(extra="forbid")


class PriorityBody(RequestBody):
    """The priority of a job."""

    priority: int = Field(ge=0, le=9)


class RedeliveryBody(RequestBody):
    """Where to resend results; to all destinations of the job by default."""

    destination: Title | None = None


class AnalysisBody(RequestBody):
    """The [[weights]] to reanalyse with; empty for those of [worker]."""

    weights: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,64}$")] = ""


class HoldBody(RequestBody):
    """Why a destination is held."""

    reason: Line = ""


class SiteBody(RequestBody):
    """What a reader states about one site; sides are the patient's."""

    side: Side
    region: Region
    lesion: Lesion
    stated: Presence = Field(description="undetermined withdraws an earlier verdict.")

    @model_validator(mode="after")
    def _is_scored(self) -> Self:
        if self.position not in POSITIONS:
            raise ValueError(f"{self.lesion} is not scored in {self.region}")
        return self

    @property
    def position(self) -> Position:
        """The site."""
        return Position(self.side, Head(self.lesion, self.region))


class VerdictsBody(RequestBody):
    """Verdicts on findings of a study."""

    sites: Annotated[list[SiteBody], Field(max_length=len(POSITIONS))] = []
    accept_others: bool = Field(
        default=False, description="Accept every call on which you gave no verdict."
    )


class PatientBody(RequestBody):
    """The patient whose jobs are searched for."""

    patient_id: Annotated[Line, StringConstraints(min_length=1, max_length=64)]


class BulkBody(RequestBody):
    """An action for all jobs of a list."""

    action: JobAction
    state: tuple[State, ...] = Field(min_length=1)
    source: Title | None = None
    find: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,64}$")] = ""
