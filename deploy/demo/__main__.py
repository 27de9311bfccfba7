"""`make demo`: from a simulated scanner to a page with the findings, on one machine.

A small storage SCP acts as the originating PACS. The node runs as an administrator would start it,
on SQLite. A phantom study is generated, sent over a real association and analysed; the results that
come back are shown next to the phantom's ground truth.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import jinja2
import numpy as np
import typer
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import EncapsulatedPDFStorage
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from deploy.demo.archive import Archive
from deploy.demo.pictures import COLOURS, Picture, key_pictures, summary_pictures
from deploy.demo.read_results import (
    PRESENT,
    ReportedFinding,
    findings_of,
    masks_of,
    report_among,
    segmentations_among,
    text_of,
)
from deploy.trial import set_up
from sij_node.config.settings import DeliveryConfig, PeerConfig
from sij_node.domain.job import State
from sij_node.errors import DestinationUnavailable
from sij_node.network.dicom_folder import contents_of
from sij_node.network.store_scu import StoreScu
from sij_node.store.database import open_database
from sij_node.store.job_queries import newest_jobs
from sij_node.store.job_table import JobTable

ARCHIVE = "DEMO_ARCHIVE"
RESULTS = 7
LIMIT_S = 240.0
HEADINGS = ("score", "threshold", "called", "true grade", "")
ENDED = {State.DELIVERED, State.REJECTED, State.FAILED, State.CANCELLED}
console = Console()


def main(
    out: Annotated[Path, typer.Option(help="Output folder; existing contents are deleted.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Random seed; each seed is a different patient.")] = 2,
    disease: Annotated[str, typer.Option(help="early, mixed or advanced.")] = "advanced",
    vendor: Annotated[str, typer.Option(help="siemens, philips, ge or canon.")] = "siemens",
) -> None:
    """Send a phantom study through the node and show the results."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    console.print("[bold]sij_node demo.[/bold] Trained on phantoms, not for clinical use.")
    with _progress() as progress, Archive(out / "archive", ARCHIVE) as archive:
        step = progress.add_task("starting the node")
        with _running_node(out, archive.port) as node:
            progress.update(step, description="generating a phantom study")
            _make_phantom(out, seed, disease, vendor)
            _wait_for_echo(node)
            progress.update(step, description="sending the study")
            images = _send(out / "phantom" / "dicom", node)
            sent = time.monotonic()
            _follow(out, archive, progress, step)
            seconds = round(time.monotonic() - sent, 1)
        objects = archive.objects()
    _show(out, objects, images, seconds)


def _show(out: Path, objects: list[Dataset], images: int, seconds: float) -> None:
    truth = json.loads((out / "phantom" / "truth.json").read_text(encoding="utf-8"))
    grades = {name.capitalize(): grade for name, grade in truth["severity"].items()}
    report = report_among(objects)
    findings = [(finding, grades[finding.name]) for finding in findings_of(report)]
    _print_table(findings)
    page = out / "index.html"
    page.write_text(_page(out, objects, report, findings, truth, seconds), encoding="utf-8")
    console.print(
        f"{images} images sent; {len(objects)} objects received {seconds} s after the last.\n"
        f"Objects: {out / 'archive'}\n"
        "Open this page: findings beside the truth, key images, PDF and report text.\n"
        f"{page.resolve().as_uri()}",
        soft_wrap=True,
    )


def _make_phantom(out: Path, seed: int, disease: str, vendor: str) -> None:
    command = [sys.executable, "-m", "trainer", "phantom", "--out", str(out / "phantom")]
    options = ["--seed", str(seed), "--disease", disease, "--vendor", vendor]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)  # noqa: S603


@contextmanager
def _running_node(out: Path, archive_port: int) -> Iterator[PeerConfig]:
    trial = set_up(
        out,
        ARCHIVE,
        archive_port,
        profile="orthanc",
        study={"stable_age_s": 2, "stable_age_without_pair_s": 10},
        spool={"min_free_mb": 100},
    )
    with (out / "node.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "sij_node", "run", "--config", str(trial.config)], stderr=log
        )
        try:
            yield trial.peer
            if process.poll() is not None:
                _fail(out, f"the node exited with status {process.returncode}")
        finally:
            process.terminate()
            process.wait()


def _wait_for_echo(node: PeerConfig) -> None:
    sender = StoreScu(ARCHIVE, DeliveryConfig(connect_timeout_s=1, response_timeout_s=2))
    for _ in range(100):
        try:
            return sender.echo(node)
        except DestinationUnavailable:
            time.sleep(0.3)
    sender.echo(node)


def _send(folder: Path, node: PeerConfig) -> int:
    objects = contents_of(folder).objects
    answers = list(StoreScu(ARCHIVE, DeliveryConfig()).send(node, objects))
    rejected = [answer for answer in answers if not answer.acknowledged]
    if rejected:
        raise DestinationUnavailable(f"{len(rejected)} images were rejected: {rejected[0].note}")
    return len(answers)


def _follow(out: Path, archive: Archive, progress: Progress, step: TaskID) -> None:
    """Follow the job until it has ended and all results have arrived."""
    engine = open_database(f"sqlite:///{(out / 'data' / 'jobs.sqlite').resolve()}")
    table = JobTable(engine)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        job = next(iter(newest_jobs(table.database)), None)
        if job is not None:
            progress.update(step, description=f"job: {job.state} ({job.instances} images)")
            if job.state in ENDED:
                break
        archive.wait_for(RESULTS, 0.3)
    engine.dispose()
    if job is None or job.state is not State.DELIVERED:
        _fail(out, f"the job is {job.state}: {job.reason}" if job else "no job was created")


def _fail(out: Path, reason: str) -> None:
    console.print(f"[red]The demo did not finish: {reason}[/red] See {out / 'node.log'}.")
    raise typer.Exit(1)


def _print_table(findings: list[tuple[ReportedFinding, int]]) -> None:
    table = Table(Column("position", no_wrap=True), *HEADINGS, box=SIMPLE, padding=(0, 1, 0, 0))
    for finding, grade in findings:
        present = finding.presence == PRESENT
        table.add_row(
            finding.name,
            "-" if finding.probability is None else f"{finding.probability:.1f} %",
            f"{finding.threshold:.1f} %",
            f"[bold magenta]{finding.presence.lower()}[/]" if present else finding.presence.lower(),
            str(grade),
            "" if present == (grade > 0) else "differs",
        )
    console.print(table)


def _page(
    out: Path,
    objects: list[Dataset],
    report: Dataset,
    findings: list[tuple[ReportedFinding, int]],
    truth: dict[str, dict[str, list[dict[str, object]]]],
    seconds: float,
) -> str:
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return (
        jinja2.Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            seconds=seconds,
            findings=findings,
            agreeing=sum((f.presence == PRESENT) == (grade > 0) for f, grade in findings),
            colours=COLOURS,
            pictures=_pictures(out, objects, truth),
            summary=summary_pictures(objects),
            document=_written_pdf(out, objects),
            objects=objects,
            text=text_of(report),
        )
    )


def _written_pdf(out: Path, objects: list[Dataset]) -> str:
    """Write the PDF report beside the page; returns its name."""
    (report,) = (one for one in objects if one.SOPClassUID == EncapsulatedPDFStorage)
    file = out / "report.pdf"
    file.write_bytes(report.EncapsulatedDocument[: report.EncapsulatedDocumentLength])
    return file.name


def _pictures(
    out: Path, objects: list[Dataset], truth: dict[str, dict[str, list[dict[str, object]]]]
) -> list[Picture]:
    series = _series(out / "phantom" / "dicom")
    pictures = []
    for segmentation in segmentations_among(objects):
        uid = segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
        images = series[uid]
        name = "STIR" if "STIR" in segmentation.SeriesDescription else "T1"
        lines = _truth_by_image(images, truth["contours"][name.lower()])
        pictures += key_pictures(name, images, masks_of(segmentation), lines, count=4)
    return sorted(pictures, key=lambda picture: picture.title.startswith("STIR"))


def _series(folder: Path) -> dict[str, list[Dataset]]:
    """The sent images by series, each in slice order."""
    series: dict[str, list[Dataset]] = {}
    for file in sorted(folder.rglob("*.dcm")):
        image = dcmread(file)
        series.setdefault(image.SeriesInstanceUID, []).append(image)
    return series


def _truth_by_image(
    images: list[Dataset], contours: list[dict[str, object]]
) -> dict[str, list[NDArray[np.float64]]]:
    """The true contours by SOP Instance UID: each belongs to the image in whose plane it lies."""
    lines: dict[str, list[NDArray[np.float64]]] = {}
    for contour in contours:
        points = np.array(contour["points_mm"], float)
        image = min(images, key=lambda image: _distance_mm(image, points))
        lines.setdefault(image.SOPInstanceUID, []).append(points)
    return lines


def _distance_mm(image: Dataset, points: NDArray[np.float64]) -> float:
    across, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(across, down)
    return float(np.abs((points - np.array(image.ImagePositionPatient, float)) @ normal).max())


def _progress() -> Progress:
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())


if __name__ == "__main__":
    typer.run(main)
