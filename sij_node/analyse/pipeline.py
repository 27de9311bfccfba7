"""The analysis of one study, from its images to its verified results.

Nothing here touches a socket, a file or a database: instances and networks are reached through the
callables in `Ports`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset

from models.analyser import Analysis, NetworkIdentity, NoJointSeen
from models.findings import Presence
from models.findings import Sequence as Kind
from models.volume import Volume
from sij_node import __version__
from sij_node.analyse.plane_check import check_planes
from sij_node.config.profiles import MINIMAL, Profile
from sij_node.dicom.acquisition_facts import acquisition_facts
from sij_node.dicom.headers import patient_of, text
from sij_node.dicom.series_extent import Signs
from sij_node.dicom.series_roles import SequenceChoice, SeriesDoubt, choose_pair
from sij_node.dicom.volumes import SeriesVolume, check_pair, volume_from
from sij_node.domain.analysis_record import NOTHING_KEPT, AnalysisRecord, SeriesUse, UsedNetwork
from sij_node.domain.drift import input_figures
from sij_node.domain.prior_comparison import NO_PRIORS, Priors, SincePrior, StudyDate, since_prior
from sij_node.domain.study import (
    FramesOfInstance,
    IdentityCorrection,
    PatientIdentity,
    ReceivedInstance,
    Refusal,
    only_patient,
)
from sij_node.errors import (
    ConflictingCopies,
    InputRejected,
    JointNotFound,
    PairMissing,
)
from sij_node.queue.completeness import (
    Read,
    SeriesMap,
    acquisition_map,
    attributes_of_study,
    image_series,
    missing_images,
    reading_frames,
    series_uid_of,
    series_uses,
)
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import (
    AnalysedStudy,
    ResultObject,
    not_analysed_objects,
    result_objects,
)
from sij_node.results.conclusion import asas_criterion
from sij_node.results.language import ENGLISH, Wording
from sij_node.results.not_analysed import not_analysed
from sij_node.results.provenance import AlgorithmIdentity, ResultContext, inputs_digest, to_part10
from sij_node.results.rejection_note import rejection_note
from sij_node.results.revisions import Revision, in_history
from sij_node.results.sr_document import first_header
from sij_node.verify.check_results import check_results
from sij_node.verify.expected_results import ExpectedResults

Analyse = Callable[[Volume, Volume], Analysis]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ports:
    """How the pipeline reads instances and runs the networks.

    Parameters
    ----------
    header
        Reads an instance without its pixel data; raises `InputRejected` if it is unreadable.
    dataset
        Reads a complete instance; raises `InputRejected` if it is unreadable.
    analyse
        The networks.
    progress
        Called with the name of each stage as it begins.
    ae_title
        AE title of the node, for the file meta information of results.
    pseudonym
        Pseudonym of a patient in tracking identifiers, which follow a lesion from study to study.
        Without the node's secret key nobody can trace it to the patient.
    """

    header: Read
    dataset: Read
    analyse: Analyse
    progress: Progress = lambda stage: None
    ae_title: str = "SIJ_NODE"
    pseudonym: Callable[[PatientIdentity], str] = lambda patient: ""


@dataclass(frozen=True)
class ResultRecipient:
    """The destination of the results.

    Parameters
    ----------
    profile
        Its output profile.
    history
        Results sent to it for this study before, oldest first.
    priors
        Prior results of the patient, from the node or from the destination's archive.
    correction
        The correction of patient or study after results were sent to it.
    rejection_notes
        Whether it supports rejection notes, which mark these results.
    """

    profile: Profile = MINIMAL
    history: Sequence[Revision] = ()
    priors: Priors = NO_PRIORS
    correction: IdentityCorrection | None = None
    rejection_notes: bool = False


@dataclass(frozen=True, eq=False)
class VerifiedResult:
    """A result whose file was read back and agrees with the findings.

    Parameters
    ----------
    kind
        As in `sij_node.domain.job.Result`.
    content
        The DICOM file to send, byte for byte.
    """

    kind: str
    dataset: Dataset
    content: bytes


@dataclass(frozen=True, eq=False)
class StudyResults:
    """The results of one study.

    Parameters
    ----------
    weights
        Names and versions of the networks, on one line.
    record
        Findings and series for the study page, without key images.
    study
        Volumes, delineations and findings from which key images are drawn.
    rejected
        The reason if the study was not analysed; the only object is then the notice of it.
    """

    objects: tuple[VerifiedResult, ...]
    weights: str = ""
    record: AnalysisRecord = NOTHING_KEPT
    study: AnalysedStudy | None = None
    rejected: InputRejected | None = None


def analyse_study(
    received: Sequence[ReceivedInstance],
    conflicts: Sequence[Refusal],
    ports: Ports,
    recipient: ResultRecipient = ResultRecipient(),
    at_archive: Mapping[str, int] = {},
) -> StudyResults:
    """Analyse a study; one that cannot be analysed yields a notice with the reason.

    Parameters
    ----------
    received
        All stored instances of the study.
    conflicts
        Quarantined copies: instances that arrived again with different content.
    at_archive
        Number of images of each series at the archive that sent it, where that is known.

    Raises
    ------
    ResultsInconsistent
        If a result, read back, disagrees with the findings.
    """
    images = acquisition_map(image_series(received), ports.header)
    ports = replace(ports, header=reading_frames(ports.header))
    attributes = attributes_of_study(images, ports.header)
    try:
        _check_no_conflict(conflicts)
        results = _results_of(images, ports, recipient, at_archive)
        return replace(results, record=replace(results.record, study=attributes))
    except InputRejected as error:
        series = series_uses(images, ports.header)
        notice = _not_analysed(images, series, error, ports, recipient)
        return StudyResults(notice, record=AnalysisRecord(series, study=attributes), rejected=error)


def _results_of(
    images: SeriesMap, ports: Ports, recipient: ResultRecipient, at_archive: Mapping[str, int]
) -> StudyResults:
    ports.progress("reading")
    choice = _choice(images, ports.header)
    missing = missing_images(images, choice, ports.header, at_archive)
    used = [*images[choice.t1_series_uid], *images[choice.stir_series_uid]]
    datasets = {one.sop_instance_uid: ports.dataset(one) for one in used}
    t1, stir = (
        volume_from([datasets[one.sop_instance_uid] for one in images[uid]], _frames(images[uid]))
        for uid in (choice.t1_series_uid, choice.stir_series_uid)
    )
    check_pair(t1, stir)
    _state_issuer(datasets.values(), only_patient(one.patient for one in used))
    try:
        analysis = ports.analyse(t1.volume, stir.volume)
    except NoJointSeen as error:
        raise JointNotFound(
            "The sacroiliac joints are not seen in the T1 and STIR series. Was another region sent?"
        ) from error
    check_planes(choice, analysis, t1.volume, stir.volume)
    ports.progress("writing")
    context = _context(used, analysis.networks, ports, recipient, _remarked(choice, missing))
    if analysis.rules:
        context = replace(context, scoring=analysis.rules.digest)
    context = replace(context, since=_since(datasets.values(), context, recipient.priors))
    context = in_history(context, t1.study_uid, recipient.history)
    headers = list(datasets.values())
    study, remarks = _analysed(t1, stir, analysis, headers, choice, missing, context)
    weights = ", ".join(f"{one.name} {one.version}" for one in analysis.networks)
    expected = ExpectedResults(
        tuple(study.headers),
        study.series,
        tuple(study.findings),
        context.since,
        burden=tuple(study.burden),
    )
    objects = (
        *_verified(result_objects(study, context), expected, ports),
        *_rejection_note(first_header(study.headers), context, ports, recipient),
    )
    record = replace(_record(images, study, context, ports), remarks=remarks)
    return StudyResults(objects, weights, record, study)


def _frames(images: Iterable[ReceivedInstance]) -> dict[str, tuple[int, ...]]:
    """Frames to use, by SOP Instance UID; images of which all are used are left out."""
    return {one.sop_instance_uid: one.frames for one in images if isinstance(one, FramesOfInstance)}


def _rejection_note(
    header: Dataset, context: ResultContext, ports: Ports, recipient: ResultRecipient
) -> tuple[VerifiedResult, ...]:
    """The note that marks results sent before a correction, if the destination supports it."""
    correction = recipient.correction
    if correction is None or not correction.earlier or not recipient.rejection_notes:
        return ()
    if correction.has_moved:
        header = ports.header(correction.former)
    note = rejection_note(correction, header, context)
    expected = ExpectedResults((header,), earlier=correction.earlier)
    return _verified([ResultObject("rejection note", note)], expected, ports)


def _state_issuer(datasets: Iterable[Dataset], patient: PatientIdentity) -> None:
    """Give every image the issuer that some state, so that all results name the same patient."""
    for dataset in datasets:
        if patient.issuer and not text(dataset, "IssuerOfPatientID"):
            dataset.IssuerOfPatientID = patient.issuer


def _record(
    images: SeriesMap, study: AnalysedStudy, context: ResultContext, ports: Ports
) -> AnalysisRecord:
    return AnalysisRecord(
        series=series_uses(images, ports.header),
        findings=tuple(study.findings),
        networks=tuple(
            UsedNetwork(one.name, one.version, one.weights_sha256, one.intended_use)
            for one in context.networks
        ),
        asas_met=study.asas_met,
        burden=tuple(study.burden),
        prior=context.since.compared,
        figures=input_figures(
            {one.sequence: (one.source.volume, one.delineation) for one in study.series}
        ),
    )


def _verified(
    objects: Iterable[ResultObject], expected: ExpectedResults, ports: Ports
) -> tuple[VerifiedResult, ...]:
    """Encode every result and check the encoded file; unchecked results are never returned."""
    written = tuple(
        VerifiedResult(one.kind, one.dataset, to_part10(one.dataset, ports.ae_title))
        for one in objects
    )
    ports.progress("checking")
    check_results([one.content for one in written], expected)
    return written


def _choice(images: SeriesMap, read_header: Read) -> SequenceChoice:
    if not images:
        raise PairMissing("The study has no images; a T1 and a STIR series are required.")
    choice = choose_pair(
        {
            uid: acquisition_facts(read_header(series[0]), slices=len(series))
            for uid, series in images.items()
        }
    )
    return replace(choice, doubts=(*choice.doubts, *_left_out(choice, images)))


def _left_out(choice: SequenceChoice, images: SeriesMap) -> Iterator[tuple[SeriesDoubt, str]]:
    """T1 or STIR whose series also holds images that are not used."""
    used = (choice.t1_series_uid, choice.stir_series_uid)
    others = {series_uid_of(key) for key in images if key not in used}
    for key, sequence in zip(used, ("T1", "STIR"), strict=True):
        if series_uid_of(key) in others:
            yield SeriesDoubt.OTHER_IMAGES_LEFT_OUT, sequence


def _analysed(
    t1: SeriesVolume,
    stir: SeriesVolume,
    analysis: Analysis,
    headers: Sequence[Dataset],
    choice: SequenceChoice,
    missing: Signs,
    context: ResultContext,
) -> tuple[AnalysedStudy, tuple[str, ...]]:
    """The study with remarks in the destination's language, and these in English for the page."""
    series = (
        AnalysedSeries(Kind.T1, t1, _of(t1, headers), analysis.t1, analysis.t1_regions),
        AnalysedSeries(Kind.STIR, stir, _of(stir, headers), analysis.stir, analysis.stir_regions),
    )
    complete = all(one.presence is not Presence.UNDETERMINED for one in analysis.findings)
    remarks, english = (
        [
            *wording.correction(context.correction),
            *([wording.fat_saturated_t2_used] if choice.stand_in else []),
            *wording.series_doubt(choice.doubts),
            *wording.missing_images(missing),
            *_joints_not_visible(series, wording),
            *wording.criteria_met(analysis.slices, complete),
            *wording.low_confidence_remark(analysis.quality),
            *wording.stated_prevalence(analysis.rules.choice.prevalence if analysis.rules else {}),
        ]
        for wording in (context.wording, ENGLISH)
    )
    asas_met = asas_criterion(analysis.slices, complete)
    study = AnalysedStudy(series, analysis.findings, remarks, asas_met, analysis.burden)
    return study, tuple(english)


def _joints_not_visible(series: Iterable[AnalysedSeries], wording: Wording) -> Iterator[str]:
    for one in series:
        if not one.regions.any():
            yield wording.joint_not_visible.format(sequence=one.sequence)


def _of(series: SeriesVolume, headers: Sequence[Dataset]) -> list[Dataset]:
    uids = set(series.sop_instance_uids)
    return [header for header in headers if text(header, "SOPInstanceUID") in uids]


def _since(headers: Iterable[Dataset], context: ResultContext, priors: Priors) -> SincePrior:
    header = first_header(headers)
    return since_prior(
        priors,
        patient_of(header),
        text(header, "StudyInstanceUID"),
        StudyDate.stated(text(header, "StudyDate"), text(header, "StudyTime")),
        (network.device_uid for network in context.networks),
    )


def _remarked(choice: SequenceChoice, missing: Signs) -> list[str]:
    """Doubts and missing images; they can change while the images used do not."""
    doubts = [f"{doubt.name} {sequence}" for doubt, sequence in choice.doubts]
    return [*doubts, *(f"{sign.name} {sequence} {count}" for sign, sequence, count in missing)]


def _context(
    used: Sequence[ReceivedInstance],
    networks: Sequence[NetworkIdentity],
    ports: Ports,
    recipient: ResultRecipient,
    remarked: Iterable[str] = (),
) -> ResultContext:
    """The context of results; what they remark on beside the images used is part of their UIDs."""
    patient = max((one.patient for one in used), key=lambda patient: patient.issuer)
    return ResultContext(
        inputs_sha256=inputs_digest(
            (
                *((one.sop_instance_uid, one.sha256) for one in used),
                *(("remarked", one) for one in remarked),
            )
        ),
        networks=tuple(
            AlgorithmIdentity(one.name, one.version, one.sha256, one.intended_use)
            for one in networks
        ),
        software_version=__version__,
        moment=max(one.received_at for one in used),
        profile=recipient.profile,
        correction=recipient.correction,
        tracked=ports.pseudonym(patient) if patient.is_named else "",
    )


def _not_analysed(
    images: SeriesMap,
    series: Sequence[SeriesUse],
    error: InputRejected,
    ports: Ports,
    recipient: ResultRecipient,
) -> tuple[VerifiedResult, ...]:
    """The notice; none if no image is readable, since the notice needs a study to belong to."""
    received = [one for series in images.values() for one in series]
    headers = []
    for one in received:
        try:
            headers.append(ports.header(one))
        except InputRejected:
            continue
    if not headers:
        return ()
    context = in_history(
        _context(received, (), ports, recipient),
        text(headers[0], "StudyInstanceUID"),
        recipient.history,
        error.reason_code,
    )
    notice = not_analysed(error.reason_code, str(error), series, headers)
    objects = not_analysed_objects(notice, headers, context)
    return (
        *_verified(objects, ExpectedResults(tuple(headers)), ports),
        *_rejection_note(first_header(headers), context, ports, recipient),
    )


def _check_no_conflict(conflicts: Sequence[Refusal]) -> None:
    if conflicts:
        raise ConflictingCopies(
            f"{len(conflicts)} instance(s) arrived again with different content, the first is "
            f"{conflicts[0].sop_instance_uid}; the node cannot tell which copy is right. "
            "See `sij-node rejected`."
        )
