"""The steps of all jobs, one after the other as they were written, for counting them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from sij_node.domain.job import State, Step
from sij_node.store.database import Database
from sij_node.store.tables import job_steps, jobs

AT_ONCE = 5000


@dataclass(frozen=True)
class StepTaken:
    """One line of history, and who sent the study."""

    step_id: int
    job_id: int
    source_ae: str
    step: Step
    from_state: State | None
    to_state: State
    at: datetime


def steps_after(database: Database, step_id: int) -> Sequence[StepTaken]:
    """The next `AT_ONCE` steps after one; fewer when there are no more."""
    chosen = (
        select(
            job_steps.c.step_id,
            job_steps.c.job_id,
            jobs.c.source_ae,
            job_steps.c.step,
            job_steps.c.from_state,
            job_steps.c.to_state,
            job_steps.c.at,
        )
        .join(jobs, jobs.c.job_id == job_steps.c.job_id)
        .where(job_steps.c.step_id > step_id)
        .order_by(job_steps.c.step_id)
        .limit(AT_ONCE)
    )
    with database.reading() as connection:
        return [
            StepTaken(
                row.step_id,
                row.job_id,
                row.source_ae,
                Step(row.step),
                None if row.from_state is None else State(row.from_state),
                State(row.to_state),
                row.at,
            )
            for row in connection.execute(chosen)
        ]
