"""What may be asked with: names and numbers within bounds; nothing reaches the database raw."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

JobNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Of the answer before.")]
Title = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,16}$")]
"""An AE title."""
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,200}$")]
"""Text of one line, as a person types it."""


class Asked(BaseModel):
    """A body; a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class PriorityAsked(Asked):
    """Which priority a job is to have."""

    priority: int = Field(ge=0, le=9)


class RedeliveryAsked(Asked):
    """To whom results are to be sent again; to all that they have where none is named."""

    destination: Title | None = None


class AnalysisAsked(Asked):
    """With which [[weights]] to analyse again; empty for those of [worker]."""

    weights: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,64}$")] = ""


class HoldAsked(Asked):
    """Why nothing is to be sent to a destination."""

    reason: Line = ""


class PatientAsked(Asked):
    """Whose jobs are looked for."""

    patient_id: Annotated[Line, StringConstraints(min_length=1, max_length=64)]
