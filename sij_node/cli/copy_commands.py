"""`copies ...`: images received again, corrected or with other content."""

from dataclasses import asdict

import typer

from sij_node.cli import opening
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, AsWide, ConfigFile, JobNumber
from sij_node.cli.output import print_json, print_line, print_table, time_of
from sij_node.domain.study import CopySummary
from sij_node.operate.admin import Admin

app = typer.Typer(
    no_args_is_help=True,
    help="Accept or discard images received again, corrected or with other content.",
)


@app.command("list")
def list_copies(
    config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False, as_wide: AsWide = False
) -> None:
    """List corrections and conflicts that await a decision."""
    with opening.admin(config) as admin:
        found = [
            (job_number, copy)
            for copies in admin.studies_with_copies()
            for job_number in [_job_of(admin, copies[0])]
            for copy in copies
        ]
    if as_json:
        return print_json([{"job": job, **asdict(one)} for job, one in found])
    print_table(
        ["job", "kind", "instance", "differs in", "stored", "received", "from", "at"],
        [_row(job, one) for job, one in found],
        is_wide=as_wide,
    )


def _job_of(admin: Admin, copy: CopySummary) -> int | None:
    job = admin.job_of_study(copy.stored_study_uid)
    return job.job_id if job else None


def _row(job: int | None, one: CopySummary) -> list[str]:
    return [
        str(job or ""),
        f"{one.kind}, held" if one.state == "held" else one.kind,
        one.sop_instance_uid,
        ", ".join(one.differs) or "stored copy unreadable",
        one.stored_sha256[:12],
        one.sha256[:12],
        one.source_ae,
        time_of(one.received_at),
    ]


@app.command("accept")
def accept_copies(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Replace the stored images of a job's study, and analyse it again."""
    with opening.admin(config) as admin:
        job = admin.accept_copies(job_id)
    print_line(f"Copies accepted. Job {job.job_id} is {job.state}.")


@app.command("discard")
def discard_copies(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Keep the stored images of a job's study."""
    with opening.admin(config) as admin:
        job = admin.discard_copies(job_id)
    print_line(f"Copies discarded. Job {job.job_id} is {job.state}.")
