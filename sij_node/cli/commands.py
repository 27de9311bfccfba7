"""The command line: `sij-node run`, and the questions and actions of `sij_node.operate.admin`.

Exit status: 0 done, 2 wrong usage, 65 to 78 as in `sij_node.errors`.
"""

import getpass
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.case_file import SUFFIX, write_case_file
from sij_node import __version__
from sij_node.config.roles import Role
from sij_node.config.settings import Config, load_config
from sij_node.doctor.check_results import CheckResult, exit_code
from sij_node.domain.job import Job, State
from sij_node.domain.job_list import JobFilter
from sij_node.errors import ConfigurationInvalid, DestinationUnavailable, NodeError
from sij_node.logs import configure_logging
from sij_node.network.dicom_folder import contents_of
from sij_node.operate.admin import Admin
from sij_node.operate.authentication import Authentication
from sij_node.processes import node, supervisor
from sij_node.training_export.training_case import teaching_case

if TYPE_CHECKING:
    from sij_node.domain.weights_comparison import StudyComparison

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A PACS node for MRI of the sacroiliac joints. Trained on phantoms, not for clinical use.",
)
jobs_app = typer.Typer(no_args_is_help=True, help="Look at the queue and act on it.")
app.add_typer(jobs_app, name="jobs")
destinations_app = typer.Typer(no_args_is_help=True, help="Who gets results, and who waits.")
app.add_typer(destinations_app, name="destinations")

users_app = typer.Typer(no_args_is_help=True, help="Who may use the page and the API.")
app.add_typer(users_app, name="users")

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="SIJ_NODE_CONFIG", help="The configuration file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts: JSON instead of a table.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
UserName = Annotated[str, typer.Argument(help="The user's name.")]
JobNumber = Annotated[int, typer.Argument(help="The job's number.")]
Title = Annotated[str, typer.Argument(help="AE title of a peer in the configuration.")]
StudyUid = Annotated[str, typer.Argument(metavar="STUDY", help="Its Study Instance UID.")]
DEFAULT_CONFIG = Path("config.toml")
_NO_PERMISSION = 77


def main() -> None:
    """Run a command; an error of the node becomes one line and an exit status."""
    try:
        app()
    except NodeError as error:
        print(f"sij-node: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except PermissionError as error:
        if error.filename is None:
            raise
        print(  # noqa: T201
            f"sij-node: {error.filename} is closed to user {getpass.getuser()}, as whom this runs: "
            f"{error.strerror}. Name a place that this user may use.",
            file=sys.stderr,
        )
        sys.exit(_NO_PERMISSION)


@app.command()
def run(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run everything on this machine: listener, clock, workers and the page."""
    settings = _started(config)
    with node.open_store(settings):
        pass  # a database that cannot be opened is told before anything is started
    program = [sys.executable, "-m", "sij_node"]
    commands = [
        [*program, "listen", "--config", str(config)],
        *[[*program, "work", "--config", str(config)] for _ in range(settings.worker.processes)],
    ]
    if settings.web.enabled:
        commands.append([*program, "web", "--config", str(config)])
    with _stopped_by_signals() as stop:
        sys.exit(supervisor.keep_running(commands, stop))


@app.command()
def listen(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Receive studies and keep the clock: settle, expire, retry, clear the spool."""
    settings = _started(config)
    with _stopped_by_signals() as stop:
        node.listen(settings, stop)


@app.command()
def work(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Analyse queued studies and deliver results; start any number, on any machine."""
    settings = _started(config)
    with _stopped_by_signals() as stop:
        node.work(settings, stop)


@app.command()
def web(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Serve the page and the HTTP API."""
    settings = _started(config)
    with _stopped_by_signals() as stop:
        node.serve_page(settings, stop, announce=lambda text: print(text, flush=True))  # noqa: T201


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="DICOM files to send, folders within included.")],
    to: Annotated[str, typer.Option(help="HOST:PORT of the receiver.")] = "127.0.0.1:11112",
    called: Annotated[str, typer.Option(help="AE title of the receiver.")] = "SIJNODE",
    calling: Annotated[str, typer.Option(help="AE title to call from.")] = "ORTHANC",
) -> None:
    """Send files by C-STORE, for trying things out."""
    failures = 0
    console = Console()
    contents = contents_of(folder)
    for file in contents.left_out:
        console.print(f"{file.name}: left out, it is not a DICOM file")
    for sent in node.send_contents(contents, to, called, calling):
        if not sent.acknowledged:
            failures += 1
            console.print(
                f"{sent.sop_instance_uid}: {sent.note or 'refused'} ({_status(sent.status)})"
            )
    if failures:
        raise DestinationUnavailable(
            f"{failures} of {len(contents.objects)} objects were not accepted by {called} at {to}."
        )


@app.command("teaching-case")
def write_teaching_case(
    images: Annotated[Path, typer.Argument(help="Folder with the DICOM files of one study.")],
    out: Annotated[Path, typer.Option(help="Folder for the case file.")],
    subject: Annotated[str, typer.Option(help="Your name for the person; no identity.")],
    visit: Annotated[int, typer.Option(min=1, help="Number of the visit.")] = 1,
    contours: Annotated[
        list[Path] | None, typer.Option(help="JSON, CSV or DICOM SR; may be given again.")
    ] = None,
    readings: Annotated[
        Path | None, typer.Option(help="CSV of all that readers scored; this visit is taken.")
    ] = None,
) -> None:
    """Turn a study of your own, with contours or readings, into a case for training."""
    case = teaching_case(images, contours or (), readings, subject, visit)
    out.mkdir(parents=True, exist_ok=True)
    written = write_case_file(case, out / f"{subject}-{visit}{SUFFIX}")
    kinds = ", ".join(one.kind for one in case.series)
    Console().print(f"{written}: {kinds}; readings: {len(case.readings)}")


@app.command("check-config")
def check_config(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Name every problem of the configuration, or show what is in force."""
    settings = load_config(config)
    if as_json:
        print(settings.model_dump_json(indent=2))  # noqa: T201
    else:
        Console().print(
            f"{config} is usable: {settings.node.ae_title}, {len(settings.peer)} peer(s)."
        )


@app.command()
def migrate(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Bring the database up to date, or make it; back it up before."""
    schema = node.migrate(load_config(config))
    Console().print(f"{schema.place} has schema {schema.newest}.")


@app.command()
def compare(
    weights: Annotated[Path, typer.Option(help="Folder with the networks to compare with.")],
    config: ConfigFile = DEFAULT_CONFIG,
    jobs: Annotated[list[int] | None, typer.Option(help="Studies of these jobs.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Else those of the last so many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Analyse stored studies with other weights too: 28 scores side by side, nothing is sent."""
    found = node.compare(_started(config), weights, tuple(jobs or ()), last)
    if as_json:
        return _print_json(found.as_json())
    for study in found.studies:
        _print_comparison(study)
    distance = "-" if found.contour_mm is None else f"{found.contour_mm:.2f} mm"
    changes = ", ".join(f"{lesion} {by:+.3f}" for lesion, by in found.mean_change.items())
    Console().print(
        f"{found.before} → {found.after}, trained on phantoms, not for clinical use\n"
        f"{found.changing_sides} of {len(found.pairs)} positions change sides; "
        f"mean change: {changes or '-'}; contours {distance} apart."
    )


def _print_comparison(study: "StudyComparison") -> None:
    Console().print(f"Job {study.job_id}, study {study.study_uid}. {study.remark}")
    _print_table(
        ["position", "before", "after", ""],
        [
            [
                pair.position,
                _probability(pair.before),
                _probability(pair.after),
                "changes sides" if pair.changes_sides else "",
            ]
            for pair in study.scores
        ],
    )


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@app.command()
def results(
    study: StudyUid,
    out: Annotated[Path, typer.Option(help="Folder for the DICOM files.")],
    profile: Annotated[str, typer.Option(help="Which; else what the study's sender gets.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make all results of a stored study again, into a folder; nothing is sent."""
    _write_results(config, study, out, profile, as_pictures=False)


@app.command()
def pictures(
    study: StudyUid,
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    profile: Annotated[str, typer.Option(help="In whose words; else the sender's.")] = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Draw a stored study's key slices, its summary and its page into a folder."""
    _write_results(config, study, out, profile, as_pictures=True)


def _write_results(config: Path, study: str, out: Path, profile: str, *, as_pictures: bool) -> None:
    who = _asking()
    for file in node.write_results(
        _started(config), study, out, profile, who, as_pictures=as_pictures
    ):
        Console(highlight=False).print(f"{file} {file.stat().st_size} bytes", soft_wrap=True)


@app.command()
def conformance(
    config: ConfigFile = DEFAULT_CONFIG,
    out: Annotated[Path | None, typer.Option(help="A file; else it is printed.")] = None,
) -> None:
    """Write the DICOM conformance statement of this node, as Markdown."""
    text = node.conformance_statement(load_config(config))
    if out is None:
        print(text, end="")  # noqa: T201
    else:
        out.write_text(text, encoding="utf-8")


@app.command()
def doctor(
    config: ConfigFile = DEFAULT_CONFIG,
    quick: Annotated[bool, typer.Option("--quick", help="No networks loaded, no study.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything the node depends on, and say what to do where something is wrong.

    Exit status: 0 all is well, 1 warnings only; else what failed first: 10 configuration,
    11 disk, 12 database, 13 TLS, 14 network, 15 neural networks, 16 clock, 17 study.
    """
    lines = []
    configure_logging("json")
    console = Console(highlight=False)
    for line in node.examine(config, quick):
        lines.append(line)
        if not as_json:
            console.print(_doctors_line(line), soft_wrap=True)
    if as_json:
        _print_json([asdict(line) for line in lines])
    raise typer.Exit(exit_code(lines))


def _doctors_line(line: CheckResult) -> Text:
    colour = {"ok": "green", "warning": "yellow", "failed": "bold red"}[line.verdict]
    said = Text.assemble((f"{line.verdict:8}", colour), f"{line.part:16}", line.words)
    if line.advice:
        said.append(f"\n{'':24}→ {line.advice}", style="bold")
    return said


@app.command()
def refused(
    config: ConfigFile = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """List objects and associations that were not accepted, and why."""
    with _admin(config) as admin:
        rows = admin.refusals(limit)
    if as_json:
        return _print_json([asdict(row) for row in rows])
    _print_table(
        ["when", "from", "status", "reason", "kept as"],
        [
            [_when(row.at), row.source_ae, _status(row.status), row.reason, row.quarantined_as[:16]]
            for row in rows
        ],
    )


@app.command()
def changes(
    config: ConfigFile = DEFAULT_CONFIG,
    who: Annotated[str, typer.Option(help="Only what this person did.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what people changed, looked up or took out."""
    with _admin(config) as admin:
        rows = admin.changes(limit, who)
    if as_json:
        return _print_json([asdict(row) for row in rows])
    _print_table(
        ["when", "who", "action", "what", "note"],
        [[_when(row.at), row.who, row.action, row.subject, row.note] for row in rows],
    )


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)  # noqa: T201


@app.command("try-alarms")
def try_alarms(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Send a trial notice by e-mail and webhook, as far as they are configured."""
    told = node.tell_trial(load_config(config))
    if not told:
        raise ConfigurationInvalid(
            f"{config} sets up neither [alerts.email] nor [alerts.webhook]; nobody is told."
        )
    Console().print(f"Sent by {' and '.join(told)}.")


@jobs_app.command("list")
def list_jobs(
    config: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[list[State] | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with _admin(config) as admin:
        jobs = admin.jobs(JobFilter(tuple(state or ())), limit).jobs
    if as_json:
        return _print_json([asdict(job) for job in jobs])
    _print_table(
        ["job", "state", "from", "images", "attempts", "changed", "reason"],
        [_job_row(job) for job in jobs],
    )


@jobs_app.command("show")
def show_job(
    job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Show one job: its steps, its deliveries, its errors in words."""
    with _admin(config) as admin:
        history = admin.history(job_id)
    if as_json:
        return _print_json(asdict(history))
    console = Console()
    console.print(f"Job {job_id}: {history.job.state}, study {history.job.study_uid}")
    for line in (history.job.reason, history.standstill):
        if line:
            console.print(line)
    console.print(f"Can be asked of it: {', '.join(history.actions) or 'nothing'}")
    _print_table(
        ["when", "step", "from", "to", "who", "note"],
        [
            [_when(step.at), step.step, step.from_state or "", step.to_state, step.who, step.note]
            for step in history.steps
        ],
    )
    _print_table(
        ["result", "to", "state", "attempts", "status", "note"],
        [
            [d.result.kind, d.destination, d.state, str(d.attempts), _status(d.status), d.note]
            for d in history.deliveries
        ],
    )


@jobs_app.command("retry")
def retry_job(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Queue a rejected or failed job again."""
    _act(config, lambda admin: admin.retry(job_id))


@jobs_app.command("cancel")
def cancel_job(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Cancel a job that is receiving, queued or delivering."""
    _act(config, lambda admin: admin.cancel(job_id))


@jobs_app.command("priority")
def set_priority(
    job_id: JobNumber,
    priority: Annotated[int, typer.Argument(min=0, max=9, help="9 is analysed first.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Have a job that is receiving or queued analysed sooner or later."""
    _act(config, lambda admin: admin.set_priority(job_id, priority))


@jobs_app.command("try-now")
def try_now(job_id: JobNumber, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """End the wait before a job's next attempt."""
    _act(config, lambda admin: admin.try_now(job_id))


@jobs_app.command("redeliver")
def redeliver_job(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    to: Annotated[str | None, typer.Option(help="One destination; else all it has.")] = None,
) -> None:
    """Send a job's results again, under the same UIDs."""
    _act(config, lambda admin: admin.redeliver(job_id, to))


@jobs_app.command("reanalyse")
def reanalyse_job(
    job_id: JobNumber,
    config: ConfigFile = DEFAULT_CONFIG,
    weights: Annotated[str, typer.Option(help="Their configured name; else the usual.")] = "",
) -> None:
    """Analyse a stored study again, in a new job."""
    _act(config, lambda admin: admin.reanalyse(job_id, weights))


@destinations_app.command("list")
def list_destinations(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List who gets results, who is held and what waits."""
    with _admin(config) as admin:
        found = admin.destinations()
    if as_json:
        return _print_json([asdict(one) for one in found])
    _print_table(
        ["destination", "jobs waiting", "kept back", "remarks"],
        [
            [one.ae_title, str(one.waiting), str(one.kept_back), "; ".join(one.remarks)]
            for one in found
        ],
    )


@destinations_app.command("hold")
def hold_destination(
    ae_title: Title,
    reason: Annotated[str, typer.Option(help="Shown to everybody who looks.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Send nothing to a destination until it is released; what is for it waits."""
    with _admin(config) as admin:
        Console().print(f"{admin.hold(ae_title, reason)}.")


@destinations_app.command("release")
def release_destination(ae_title: Title, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Send to a destination again."""
    with _admin(config) as admin:
        admin.release_hold(ae_title)
    Console().print(f"{ae_title} is not held any more.")


@destinations_app.command("send-kept-back")
def send_kept_back(ae_title: Title, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Send what was kept back in shadow mode: the newest results of each study."""
    with _admin(config) as admin:
        jobs = admin.send_kept_back(ae_title)
    Console().print(f"The results of {len(jobs)} studies will be sent to {ae_title}.")


@users_app.command("add")
def add_user(
    name: UserName,
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.VIEWER,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Add somebody; prints the link by which they set a password."""
    with _access(config) as access:
        _print_invitation(config, access.add(name, role, _asking()))


@users_app.command("reset")
def reset_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print a new link by which somebody sets a password; the old one holds until then."""
    with _access(config) as access:
        _print_invitation(config, access.invite_again(name, _asking()))


@users_app.command("list")
def list_users(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List who may use the page and the API."""
    with _access(config) as access:
        users = access.users()
    if as_json:
        return _print_json(
            [{"name": user.name, "role": user.role, "standing": user.standing} for user in users]
        )
    _print_table(
        ["name", "role", "standing", "since"],
        [[user.name, user.role, user.standing, _when(user.created_at)] for user in users],
    )


@users_app.command("role")
def change_role(
    name: UserName,
    role: Annotated[Role, typer.Argument(help="What they may do from now on.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Give somebody another role."""
    with _access(config) as access:
        access.set_role(name, role, _asking())


@users_app.command("disable")
def disable_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Shut somebody out at once; sessions and tokens end."""
    with _access(config) as access:
        access.disable(name, _asking())


@users_app.command("enable")
def enable_user(name: UserName, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Let somebody in again."""
    with _access(config) as access:
        access.enable(name, _asking())


def _asking() -> str:
    """The name of who calls this command, also where sudo has it run as the node's user."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def _access(config: Path) -> AbstractContextManager[Authentication]:
    return node.open_access(load_config(config))


def _print_invitation(config: Path, secret: str) -> None:
    link = node.invitation_link(load_config(config), secret)
    print(f"Set the password within 24 hours: {link}")  # noqa: T201


def _act(config: Path, action: Callable[[Admin], Job]) -> None:
    with _admin(config) as admin:
        job = action(admin)
    Console().print(f"Job {job.job_id} is {job.state}.")


def _admin(config: Path) -> AbstractContextManager[Admin]:
    return node.open_admin(load_config(config), _asking())


def _started(config: Path) -> Config:
    settings = load_config(config)
    configure_logging(settings.node.log_format)
    return settings


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set: the process then drains and ends."""
    stop = threading.Event()

    def tell(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, tell)
    yield stop


def _job_row(job: Job) -> list[str]:
    return [
        str(job.job_id),
        job.state,
        job.source_ae,
        str(job.instances),
        f"{job.analysis_attempts}+{job.delivery_attempts}",
        _when(job.changed_at),
        job.reason,
    ]


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print_json(content: Any) -> None:
    print(json.dumps(content, default=str, indent=2))  # noqa: T201


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _status(status: int | None) -> str:
    return "" if status is None else f"0x{status:04X}"
