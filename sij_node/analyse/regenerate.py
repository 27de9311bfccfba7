"""Regenerates the results of a stored study, as DICOM files or as PNG images; sends nothing.

With the destination's own profile the results are those of the study's last job, byte for byte,
as long as neither networks nor priors have changed. With any other profile they are what a
destination of that profile would receive first.
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
from sij_node.config.routing import profile_made_for
from sij_node.config.settings import Config
from sij_node.domain.job import Job
from sij_node.domain.prior_comparison import Priors
from sij_node.domain.study import ReceivedInstance
from sij_node.errors import ConfigurationInvalid, ImagesCleared, UnknownJob
from sij_node.results.key_image_previews import drawn, key_pictures
from sij_node.store.deliveries import results_sent_before
from sij_node.store.job_queries import jobs_of_study
from sij_node.store.job_table import JobTable
from sij_node.store.received_copies import correction_of, unsettled_conflicts
from sij_node.store.registration import received_instances
from sij_node.store.series_at_archive import series_at_archive
from sij_node.store.spool import Spool

PAGE_DPI = 150
PriorsFor = Callable[[Job, Sequence[ReceivedInstance]], Priors]
File = tuple[str, bytes]
"""Name and content of a file; the name says nothing about the patient."""


def regenerate(
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
        Output profile; by default that of the study's sender.
    as_pictures
        Make only what `png_files_of` needs.

    Raises
    ------
    UnknownJob
        If there is no such study.
    ImagesCleared
        If its images have been cleared from the spool.
    WeightsRefused, DatabaseUnavailable, ResultsInconsistent
    """
    job = _last_job(table, study_uid)
    images = _stored_images(table, study_uid)
    own_profile = profile_made_for(config, job.source_ae)
    wanted = profile or own_profile
    if as_pictures:
        wanted = _only_images(wanted)
    history = results_sent_before(table.database, job)
    request = AnalysisRequest(
        images,
        unsettled_conflicts(table.database, study_uid, history),
        job.source_ae,
        weights=job.weights_wanted,
        priors=priors_for(job, images),
        correction=correction_of(table.database, job),
        at_archive=series_at_archive(table.database, study_uid),
    )
    if wanted == own_profile:
        request = replace(request, history=history)
    networks = {request.weights: load_networks(config, request.weights)}
    return InferenceServer(networks, spool, config).results_of(request, wanted)


def _stored_images(table: JobTable, study_uid: str) -> tuple[ReceivedInstance, ...]:
    images = received_instances(table.database, study_uid)
    if not images:
        raise ImagesCleared(
            f"The images of study {study_uid} have been cleared from the spool; send them again."
        )
    return images


def _last_job(table: JobTable, study_uid: str) -> Job:
    jobs = jobs_of_study(table.database, study_uid)
    if not jobs:
        raise UnknownJob(
            f"There is no study {study_uid}. `sij-node jobs list --limit 1000` lists existing jobs."
        )
    return jobs[-1]


def _only_images(profile: Profile) -> Profile:
    """The profile with only the objects that can be drawn, in the same language."""
    plain = {"summary_class": "multi-frame", "summary_compression": "none"}
    return profile.model_copy(update={"objects": ("summary", "pdf"), **plain})


def dicom_files_of(results: StudyResults) -> Iterator[File]:
    """Every result as a DICOM file, in the order of delivery."""
    for number, result in enumerate(results.objects, 1):
        yield f"{number:02d}-{_file_stem(result.kind)}.dcm", result.content


def png_files_of(results: StudyResults) -> Iterator[File]:
    """Key images, the frames of the summary and the page of the PDF, as PNG.

    Raises
    ------
    ConfigurationInvalid
        If poppler's pdftoppm, which renders the page, is not installed.
    """
    if results.study is not None:
        pictures = key_pictures(results.study, "")
        for picture, content in zip(pictures, drawn(results.study), strict=True):
            yield f"place-{picture.place}-{picture.sequence.lower()}.png", content
    for result in results.objects:
        yield from _images_in(result)


def _images_in(result: VerifiedResult) -> Iterator[File]:
    if result.dataset.SOPClassUID == EncapsulatedPDFStorage:
        yield f"{_file_stem(result.kind)}.png", _page_png(result.dataset.EncapsulatedDocument)
    elif "PixelData" in result.dataset and result.kind.startswith("summary"):
        values = dcmread(BytesIO(result.content)).pixel_array
        for number, frame in enumerate(values.reshape(-1, *values.shape[-3:]), 1):
            file = BytesIO()
            Image.fromarray(frame).save(file, "PNG")
            yield f"{_file_stem(result.kind)}-{number}.png", file.getvalue()


def _page_png(pdf: bytes) -> bytes:
    command = ["pdftoppm", "-png", "-singlefile", "-r", str(PAGE_DPI), "-"]
    try:
        rendered = subprocess.run(command, input=pdf, capture_output=True, check=True)  # noqa: S603
        return rendered.stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationInvalid(
            "The page cannot be rendered: poppler's pdftoppm is required (Debian: poppler-utils)."
        ) from error


def _file_stem(kind: str) -> str:
    return kind.replace(" ", "-")
