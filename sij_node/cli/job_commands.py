"""`jobs ...`: list, show and act on jobs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from sij_node.cli import opening
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, AsWide, ConfigFile, JobNumber, Limit
from sij_node.cli.output import dimse_status, print_json, print_line, print_table, time_of
from sij_node.config.profiles import Language
from sij_node.domain.analysis_record import SeriesUse
from sij_node.domain.job import STEP_WORDS, Job, JobAction, State
from sij_node.domain.job_list import JobFilter
from sij_node.domain.study import StudyAttributes
from sij_node.errors import IllegalStep
from sij_node.operate.admin import Admin, JobHistory

app = typer.Typer(no_args_is_help=True, help="List, show and act on jobs.")


@app.command("list")
def list_jobs(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[list[State] | None, typer.Option(help="Only jobs in this state.")] = None,
    find: Annotated[
        str, typer.Option(help="Job number, study date, or part of description or reason.")
    ] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
    as_wide: AsWide = False,
) -> None:
    """List jobs, newest first."""
    with opening.admin(config) as admin:
        jobs = admin.jobs(JobFilter(tuple(state or ()), words=find), limit).jobs
        attributes = admin.study_attributes(jobs)
    if as_json:
        return print_json([asdict(job) for job in jobs])
    print_table(
        ["job", "state", "from", "study", "images", "attempts", "changed", "reason"],
        [_row(job, attributes.get(job.study_uid)) for job in jobs],
        is_wide=as_wide,
    )


def _row(job: Job, study: StudyAttributes | None) -> list[str]:
    return [
        str(job.job_id),
        job.state,
        job.source_ae,
        f"{study.study_date} {study.description}".strip() if study else "",
        str(job.instances),
        f"{job.analysis_attempts}+{job.delivery_attempts}",
        time_of(job.changed_at),
        job.reason,
    ]


@app.command("weights")
def list_weights(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the weights that analysed the jobs, and since when."""
    with opening.admin(config) as admin:
        used = admin.weights_used()
    if as_json:
        return print_json([asdict(one) for one in used])
    print_table(
        ["weights", "jobs", "first", "last"],
        [[one.weights, str(one.jobs), time_of(one.first_at), time_of(one.last_at)] for one in used],
    )


@app.command("show")
def show_job(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    as_wide: AsWide = False,
) -> None:
    """Show one job: why each series was used or not, history, deliveries, available actions."""
    with opening.admin(config) as admin:
        study = admin.study(job_id)
    series = study.record.series if study.record else study.series
    if as_json:
        return print_json({**asdict(study.history), "series": [asdict(one) for one in series]})
    _print_history(study.history, as_wide)
    _print_series(series, as_wide)


def _print_series(series: Iterable[SeriesUse], is_wide: bool) -> None:
    print_table(
        ["series", "description", "images", "why it is used or not"],
        [[one.number or "-", one.description, str(one.images), one.reason] for one in series],
        is_wide=is_wide,
    )


def _print_history(history: JobHistory, is_wide: bool) -> None:
    job = history.job
    print_line(f"Job {job.job_id}: {job.state}, study {job.study_uid}")
    for line in filter(None, (job.reason, history.standstill)):
        print_line(line)
    if history.missing:
        print_line(
            f"Not made: {', '.join(history.missing)}, which recipients of studies from "
            f"{job.source_ae} get by now. "
            f"`sij-node jobs redeliver {job.job_id}` makes and sends them too."
        )
    print_line(f"Available actions: {commands_for(job, history.actions)}")
    print_table(
        ["time", "step", "from", "to", "user", "note"],
        [
            [
                time_of(one.at),
                STEP_WORDS[one.step],
                one.from_state or "",
                one.to_state,
                one.who,
                one.note,
            ]
            for one in history.steps
        ],
        is_wide=is_wide,
    )
    print_table(
        ["result", "destination", "state", "attempts", "status", "note"],
        [
            [
                one.result.kind,
                one.destination,
                one.state.label,
                str(one.attempts),
                dimse_status(one.status),
                one.note,
            ]
            for one in history.deliveries
        ],
        is_wide=is_wide,
    )


@app.command("text")
def show_text(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    language: Annotated[
        Language | None, typer.Option(help="Otherwise that of the sender's output profile.")
    ] = None,
) -> None:
    """Print a study's findings in full sentences, to be pasted into a report."""
    with opening.admin(config) as admin:
        print_line(str(admin.report_text(job_id, language)))


@app.command("retry")
def retry_job(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Queue a rejected or failed job again."""
    _act(config, job_id, lambda admin: admin.retry(job_id))


@app.command("cancel")
def cancel_job(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Cancel a job that is receiving, queued or delivering."""
    _act(config, job_id, lambda admin: admin.cancel(job_id))


@app.command("priority")
def set_priority(
    job_id: JobNumber,
    priority: Annotated[int, typer.Argument(min=0, max=9, help="9 is analysed first.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Set the priority of a job that is receiving or queued."""
    _act(config, job_id, lambda admin: admin.set_priority(job_id, priority))


@app.command("try-now")
def try_now(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Start a job's next attempt immediately."""
    _act(config, job_id, lambda admin: admin.try_now(job_id))


@app.command("redeliver")
def redeliver_job(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    to: Annotated[str | None, typer.Option(help="One destination; otherwise all.")] = None,
) -> None:
    """Send a job's results again under the same UIDs, with those added to its profile since."""
    with opening.admin(config) as admin, _naming_possible_actions(admin, job_id):
        job = admin.redeliver(job_id, to)
        asked = admin.history(job_id).steps[-1]
    print_line(f"Job {job.job_id} is {job.state}: results are sent {asked.note}.")


@app.command("reanalyse")
def reanalyse_job(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    weights: Annotated[
        str, typer.Option(help="Name of configured weights; otherwise the default ones.")
    ] = "",
) -> None:
    """Analyse a stored study again, as a new job."""
    _act(config, job_id, lambda admin: admin.reanalyse(job_id, weights))


@app.command("all")
def act_on_all(
    action: Annotated[JobAction, typer.Argument(help="retry, cancel or redeliver")],
    state: Annotated[list[State], typer.Option(help="Jobs in this state.")],
    config: ConfigFile = DEFAULT_CONFIG,
    source: Annotated[str, typer.Option(help="Only from this AE title.")] = "",
    as_json: AsJson = False,
) -> None:
    """Retry, cancel or redeliver all jobs in some states, at most 500 at once."""
    with opening.admin(config) as admin:
        outcome = admin.act_on_all(action, JobFilter(tuple(state), source))
    if as_json:
        return print_json(asdict(outcome))
    for job_id, why in outcome.refused.items():
        print_line(f"Job {job_id}: {why}")
    left = f"; {outcome.left} not touched yet, repeat the command" if outcome.left else ""
    print_line(f"{action.capitalize()}: {len(outcome.done)} jobs done{left}.")


_COMMANDS: Mapping[JobAction, str] = MappingProxyType(
    {
        JobAction.RETRY: "retry {job}",
        JobAction.CANCEL: "cancel {job}",
        JobAction.SET_PRIORITY: "priority {job} 9",
        JobAction.TRY_NOW: "try-now {job}",
        JobAction.REDELIVER: "redeliver {job}",
        JobAction.REANALYSE: "reanalyse {job}",
    }
)


def commands_for(job: Job, actions: Iterable[JobAction]) -> str:
    """The commands for these actions, to be typed as they are; "none" without any."""
    typed = (f"`sij-node jobs {_COMMANDS[one].format(job=job.job_id)}`" for one in actions)
    return ", ".join(typed) or "none"


@contextmanager
def _naming_possible_actions(admin: Admin, job_id: int) -> Iterator[None]:
    try:
        yield
    except IllegalStep as error:
        history = admin.history(job_id)
        possible = commands_for(history.job, history.actions)
        raise IllegalStep(f"{error} Possible now: {possible}.") from error


def _act(config: Path, job_id: int, action: Callable[[Admin], Job]) -> None:
    with opening.admin(config) as admin, _naming_possible_actions(admin, job_id):
        job = action(admin)
    print_line(f"Job {job.job_id} is {job.state}.")
