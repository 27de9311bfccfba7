"""`send`, `results`, `pictures`, `compare`, `training-case`: commands on one or more studies."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.case_file import SUFFIX, Case, write_case_file
from sij_node.cli import opening
from sij_node.cli.opening import on_demand, os_user, with_logging
from sij_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, StudyUid
from sij_node.cli.output import dimse_status, print_json, print_line, print_table
from sij_node.domain.research_table import ExportedDates, ExportedStudies
from sij_node.errors import DestinationUnavailable, NodeError, TrainingCaseUnusable
from sij_node.network.dicom_folder import AssociationPer, contents_of, send_contents
from sij_node.training_export.training_case import (
    MANIFEST_COLUMNS,
    judged_case,
    listed_cases,
    training_case,
)

if TYPE_CHECKING:
    from sij_node.domain.weights_comparison import StudyComparison, WeightsComparison

app = typer.Typer()
_DAY = ["%Y-%m-%d"]


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="Folder with DICOM files, searched recursively.")],
    to: Annotated[str, typer.Option(help="Receiver, as HOST:PORT.")] = "127.0.0.1:11112",
    called: Annotated[str, typer.Option(help="Called AE title.")] = "SIJNODE",
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "ORTHANC",
    association_per: Annotated[
        AssociationPer,
        typer.Option(help="What gets an association of its own; interleaved: studies in turn."),
    ] = AssociationPer.FOLDER,
    pause: Annotated[float, typer.Option(help="Seconds between two associations.", min=0)] = 0.0,
) -> None:
    """Send DICOM files by C-STORE, in the ways in which archives send, for testing."""
    contents = contents_of(folder)
    for file in contents.left_out:
        print_line(f"{file.name}: skipped, not a DICOM file")
    sent = send_contents(
        contents, to, called, calling, association_per=association_per, pause_s=pause
    )
    failed = [one for one in sent if not one.acknowledged]
    for one in failed:
        reason = one.note or "refused"
        print_line(f"{one.sop_instance_uid}: {reason} ({dimse_status(one.status)})")
    if failed:
        raise DestinationUnavailable(
            f"{len(failed)} of {len(contents.objects)} instances were not accepted by {called} "
            f"at {to}."
        )


@app.command()
def results(
    study: StudyUid,
    out: Annotated[Path, typer.Option(help="Folder for the DICOM files.")],
    profile: Annotated[
        str, typer.Option(help="Output profile; otherwise that of the study's sender.")
    ] = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Regenerate the results of a stored study in a folder; nothing is sent."""
    _write_results(config, study, out, profile, as_pictures=False)


@app.command()
def pictures(
    study: StudyUid,
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    profile: Annotated[
        str, typer.Option(help="Profile with the language; otherwise that of the sender.")
    ] = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Write key images, summary and PDF page of a stored study as PNG files."""
    _write_results(config, study, out, profile, as_pictures=True)


def _write_results(config: Path, study: str, out: Path, profile: str, *, as_pictures: bool) -> None:
    files = on_demand("processes.offline_analysis").write_results(
        with_logging(config), study, out, profile, os_user(), as_pictures=as_pictures
    )
    for file in files:
        print_line(f"{file} {file.stat().st_size} bytes")


@app.command()
def compare(
    weights: Annotated[Path, typer.Option(help="Folder with the weights to compare.")],
    config: ConfigFile = DEFAULT_CONFIG,
    jobs: Annotated[list[int] | None, typer.Option(help="Studies of these jobs.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Otherwise the last N jobs.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Analyse stored studies with other weights and compare all 28 scores; nothing is sent."""
    found: WeightsComparison = on_demand("processes.offline_analysis").compare(
        with_logging(config), weights, tuple(jobs or ()), last
    )
    if as_json:
        return print_json(found.as_json())
    for study in found.studies:
        _print_comparison(study)
    distance = "-" if found.contour_mm is None else f"{found.contour_mm:.2f} mm"
    changes = ", ".join(f"{lesion} {by:+.3f}" for lesion, by in found.mean_change.items())
    print_line(
        f"{found.before} → {found.after}, trained on phantoms, not for clinical use\n"
        f"{found.changing_sides} of {len(found.pairs)} sites change between positive and "
        f"negative; mean change: {changes or '-'}; contour distance {distance}."
    )


def _print_comparison(study: "StudyComparison") -> None:
    print_line(f"Job {study.job_id}, study {study.study_uid}. {study.remark}")
    print_table(
        ["site", "before", "after", ""],
        [
            [
                pair.position,
                _probability(pair.before),
                _probability(pair.after),
                "changes" if pair.changes_sides else "",
            ]
            for pair in study.scores
        ],
    )


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


@app.command("export-scores")
def export_scores(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    config: ConfigFile = DEFAULT_CONFIG,
    since: Annotated[datetime, typer.Option(formats=_DAY, help="First day of arrival, UTC.")] = (
        datetime(1900, 1, 1)
    ),
    until: Annotated[datetime, typer.Option(formats=_DAY, help="Last day of arrival, UTC.")] = (
        datetime(9998, 12, 31)
    ),
    source: Annotated[str, typer.Option(help="Only from this AE title.")] = "",
    dates: Annotated[
        ExportedDates, typer.Option(help="Study dates: shifted, only the year, or none.")
    ] = ExportedDates.SHIFTED,
) -> None:
    """Export the scores of all analysed studies for research, under pseudonyms."""
    end = until.replace(tzinfo=UTC) + timedelta(days=1)
    wanted = ExportedStudies(since.replace(tzinfo=UTC), end, source, dates)
    with opening.admin(config) as admin, out.open("w", encoding="utf-8", newline="") as file:
        rows = list(admin.export_scores(wanted))
        csv.writer(file).writerows(rows)
    print_line(f"{out}: studies: {len(rows) - 1}; columns: {len(rows[0])}")


@app.command("export-verdicts")
def export_verdicts(
    out: Annotated[Path, typer.Option(help="Folder for the case files.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Export stored studies with readers' verdicts as training cases, under pseudonyms."""
    failed = 0
    with opening.admin(config) as admin:
        for study, images in admin.judged_studies():
            name = f"{study.subject}-{study.visit}"
            try:
                _write_case(judged_case(images(), study.readings, study.subject), out, name)
            except NodeError as error:
                failed += 1
                typer.echo(f"{name}: {error}", err=True)
        admin.note("export verdicts", str(out))
    if failed:
        raise TrainingCaseUnusable(f"{failed} studies with verdicts were not exported; see above")


@app.command("training-case")
def write_training_case(
    images: Annotated[Path, typer.Argument(help="Folder with the DICOM files of one study.")],
    out: Annotated[Path, typer.Option(help="Folder for the case file.")],
    subject: Annotated[str, typer.Option(help="Your pseudonym of the subject.")],
    visit: Annotated[int, typer.Option(min=1, help="Number of the visit.")] = 1,
    contours: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON, CSV, DICOM SR, RTSTRUCT or SEG; curves of 3D Slicer (.mrk.json) as "
            "T1=FILE or STIR=FILE; can be repeated."
        ),
    ] = None,
    readings: Annotated[
        Path | None, typer.Option(help="CSV with all readers' scores; this visit is used.")
    ] = None,
) -> None:
    """Convert your own study with contours or readings into a training case."""
    _write_case(
        training_case(images, contours or (), readings, subject, visit), out, f"{subject}-{visit}"
    )


@app.command("training-cases")
def write_training_cases(
    manifest: Annotated[
        Path, typer.Argument(help=f"CSV with the columns {', '.join(MANIFEST_COLUMNS)}.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the case files.")],
) -> None:
    """Convert many studies into training cases: one row each, paths relative to the table."""
    found = list[bool]()
    for name, case in listed_cases(manifest):
        found.append(isinstance(case, Case))
        if isinstance(case, Case):
            _write_case(case, out, name)
        else:
            typer.echo(f"{manifest}, {name}: {case}", err=True)
    if not all(found):
        raise TrainingCaseUnusable(
            f"{found.count(False)} of {len(found)} studies were not exported; see above"
        )


def _write_case(case: Case, out: Path, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    written = write_case_file(case, out / f"{name}{SUFFIX}")
    kinds = ", ".join(one.kind for one in case.series)
    print_line(f"{written}: {kinds}; readings: {len(case.readings)}")
