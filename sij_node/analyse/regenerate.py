"""Makes the results of a stored study again, and pictures of them; nothing is sent.

The destination's own profile gives what the study's last job gave it, byte for byte, as long as
neither networks nor priors have changed. Any other profile gives what it would get as a first.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO

from PIL import Image
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage

from sij_node.analyse.analysis_process import AnalysisRequest
from sij_node.analyse.inference import InferenceServer, load_networks
from sij_node.analyse.pipeline import StudyResults, VerifiedResult
from sij_node.config.profiles import Profile
from sij_node.config.settings import Config
from sij_node.domain.job import Job
from sij_node.domain.prior_comparison import Priors
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import ConfigurationInvalid, ImagesCleared, UnknownJob
from sij_node.results.key_image_previews import drawn, key_pictures
from sij_node.store.deliveries import results_sent_before
from sij_node.store.job_queries import jobs_of_study
from sij_node.store.job_table import JobTable
from sij_node.store.refusals import conflicts_of
from sij_node.store.registration import received_instances
from sij_node.store.spool import Spool

PAGE_DPI = 150
PriorsFor = Callable[[Job, Sequence[ReceivedInstance]], Priors]
File = tuple[str, bytes]
"""A name, which says nothing of the patient, and what is in it."""


def recreated(
    config: Config,
    table: JobTable,
    spool: Spool,
    priors_for: PriorsFor,
    study_uid: str,
    profile: Profile | None = None,
    *,
    as_pictures: bool = False,
) -> StudyResults:
    """Analyse a stored study as its last job did.

    Parameters
    ----------
    profile
        What is made; without one, what the study's sender gets.
    as_pictures
        Of the same, only what `pictures_of` draws from.

    Raises
    ------
    UnknownJob
        If the node knows no such study.
    ImagesCleared
        If its images are not stored any more.
    WeightsRefused, DatabaseUnavailable, ResultsInconsistent
    """
    job = _last_job(table, study_uid)
    images = received_instances(table.database, study_uid)
    if not images:
        raise ImagesCleared(
            f"The images of study {study_uid} were cleared from the spool; send them again."
        )
    usual = config.profile_for(job.source_ae)
    asked = profile or usual
    if as_pictures:
        asked = _pictured(asked)
    order = AnalysisRequest(
        images,
        conflicts_of(table.database, study_uid),
        job.source_ae,
        weights=job.weights_wanted,
        priors=priors_for(job, images),
    )
    if asked == usual:
        order = replace(order, history=results_sent_before(table.database, job))
    desk = InferenceServer({order.weights: load_networks(config, order.weights)}, spool, config)
    return desk.results_of(order, asked)


def _last_job(table: JobTable, study_uid: str) -> Job:
    jobs = jobs_of_study(table.database, study_uid)
    if not jobs:
        raise UnknownJob(
            f"The node knows no study {study_uid}. `sij-node jobs list --limit 1000` names those "
            "it knows."
        )
    return jobs[-1]


def _pictured(profile: Profile) -> Profile:
    """The same in words, with all that can be drawn and nothing else."""
    plain = {"summary_class": "multi-frame", "summary_compression": "none"}
    return profile.model_copy(update={"objects": ("summary", "pdf"), **plain})


def files_of(made: StudyResults) -> Iterator[File]:
    """Every result as a DICOM file, in the order of sending."""
    for number, one in enumerate(made.objects, 1):
        yield f"{number:02d}-{_as_name(one.kind)}.dcm", one.content


def pictures_of(made: StudyResults) -> Iterator[File]:
    """Every picture as PNG: the slices that are shown, the summary's frames and the page.

    Raises
    ------
    ConfigurationInvalid
        If poppler's pdftoppm, which draws the page, is not there.
    """
    if made.study is not None:
        shown = key_pictures(made.study, "")
        for picture, content in zip(shown, drawn(made.study), strict=True):
            yield f"place-{picture.place}-{picture.sequence.lower()}.png", content
    for one in made.objects:
        yield from _pictures_in(one)


def _pictures_in(one: VerifiedResult) -> Iterator[File]:
    if one.dataset.SOPClassUID == EncapsulatedPDFStorage:
        yield f"{_as_name(one.kind)}.png", _page_drawn(one.dataset.EncapsulatedDocument)
    elif "PixelData" in one.dataset and one.kind.startswith("summary"):
        values = dcmread(BytesIO(one.content)).pixel_array
        for number, frame in enumerate(values.reshape(-1, *values.shape[-3:]), 1):
            file = BytesIO()
            Image.fromarray(frame).save(file, "PNG")
            yield f"{_as_name(one.kind)}-{number}.png", file.getvalue()


def _page_drawn(pdf: bytes) -> bytes:
    command = ["pdftoppm", "-png", "-singlefile", "-r", str(PAGE_DPI), "-"]
    try:
        drawn_page = subprocess.run(command, input=pdf, capture_output=True, check=True)  # noqa: S603
        return drawn_page.stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationInvalid(
            "The page cannot be drawn: poppler's pdftoppm is needed (Debian: poppler-utils)."
        ) from error


def _as_name(kind: str) -> str:
    return kind.replace(" ", "-")
