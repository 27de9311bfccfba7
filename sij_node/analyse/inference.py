"""Inference in the analysis process: read the files, run the pipeline, store the results.

The only module of the node that loads the networks.
"""

import hashlib
import os
import resource
import signal
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
import torch

from models.analyser import Analyser
from models.scoring_choice import DEFAULT_CHOICE, ScoringChoice
from models.weights import WeightsInvalid
from models.weights_signature import check_signature
from sij_node.analyse.analysis_process import (
    AnalysisOutcome,
    AnalysisRequest,
    LoadedNetworks,
    serve_requests,
)
from sij_node.analyse.pipeline import (
    Ports,
    ResultRecipient,
    StudyResults,
    VerifiedResult,
    analyse_study,
)
from sij_node.config.profiles import Profile
from sij_node.config.routing import profile_made_for, recipients_of
from sij_node.config.settings import Config, WorkerConfig
from sij_node.dicom.part10 import FILE_META_BYTES, read_file_meta
from sij_node.domain.analysis_record import AnalysisRecord, KeyPicture
from sij_node.domain.job import Result
from sij_node.domain.keyed_hash import keyed_hash
from sij_node.domain.study import PatientIdentity
from sij_node.errors import WeightsRefused
from sij_node.logs import configure_logging
from sij_node.results.build import AnalysedStudy
from sij_node.results.key_image_previews import drawn, key_pictures
from sij_node.store.secret_key import secret_key
from sij_node.store.spool import Spool
from sij_node.store.stored_instances import read_checked, read_header

log = structlog.get_logger()

NETWORKS = ("contour", "lesion")
"""Subfolders of a folder of weights."""

LOWEST_PRIORITY = 19
"""nice(2) value: receiving images takes precedence over analysing them."""


def serve(pipe: Connection, config: Config) -> None:
    """Load the networks, then analyse one request after the other until the worker exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(LOWEST_PRIORITY)
    configure_logging(config.node.log_format)
    try:
        analyser = load_networks(config, "")
    except WeightsRefused as error:
        pipe.send(error)
        return
    _limit_memory(config.worker, analyser)
    log.info("networks ready", model=names_and_versions(analyser), device=str(analyser.device))
    spool = Spool(config.node.data_folder / "spool")
    server = InferenceServer({"": analyser}, spool, config)
    serve_requests(pipe, server.analyse, server.draw_key_images, partial(_loaded, analyser))


def load_networks(config: Config, name: str) -> Analyser:
    """The networks of [worker], or of the [[weights]] with a name.

    Raises
    ------
    WeightsRefused
        If they cannot be used, or no [[weights]] has that name.
    """
    try:
        folder = config.networks_folder(name)
        return networks_in(folder, config.worker, config.lesions.choice)
    except WeightsInvalid as error:
        raise WeightsRefused(f"The networks cannot be used: {error}") from error


def networks_in(
    folder: Path, worker: WorkerConfig, choice: ScoringChoice = DEFAULT_CHOICE
) -> Analyser:
    """The networks of a folder, signed if [worker] requires it.

    Raises
    ------
    WeightsInvalid
        If they cannot be used.
    """
    if worker.weights_public_key is not None:
        for network in NETWORKS:
            check_signature(folder / network, worker.weights_public_key)
    return Analyser.load(folder, worker.device, worker.threads, worker.mixed_precision, choice)


@dataclass
class InferenceServer:
    """Analyses one request after the other.

    Parameters
    ----------
    analysers
        Loaded networks by the name of their [[weights]]: always those of [worker], under the
        empty name, and the last others that a user requested.
    pending
        The last study and its key images, until they are drawn.
    """

    analysers: dict[str, Analyser]
    spool: Spool
    config: Config
    pending: tuple[AnalysedStudy, tuple[KeyPicture, ...]] | None = None

    def analyse(self, request: AnalysisRequest) -> AnalysisOutcome:
        """Analyse a study and store its results."""
        study = self.results_of(request, profile_made_for(self.config, request.destination))
        stored = tuple(_stored(self.spool, result) for result in study.objects)
        record = self._with_key_images(study, stored)
        return AnalysisOutcome(stored, study.weights, _series_used(record), study.rejected, record)

    def results_of(self, request: AnalysisRequest, profile: Profile) -> StudyResults:
        """Analyse a study without storing anything."""
        ports = Ports(
            header=partial(read_header, self.spool),
            dataset=partial(read_checked, self.spool),
            analyse=self._analyser_of(request.weights).analyse,
            ae_title=self.config.node.ae_title,
            pseudonym=self.pseudonym,
        )
        recipients = recipients_of(self.config, request.destination)
        recipient = ResultRecipient(
            profile,
            request.history,
            request.priors,
            request.correction,
            rejection_notes=any(one.rejection_notes for one in recipients),
        )
        received, conflicts = request.instances, request.conflicts
        return analyse_study(received, conflicts, ports, recipient, request.at_archive)

    def pseudonym(self, patient: PatientIdentity) -> str:
        """A pseudonym that is the same for a patient in every study."""
        key = secret_key(self.config.node.data_folder)
        return keyed_hash(key, "tracking", patient.identifier, patient.issuer)

    def _analyser_of(self, weights: str) -> Analyser:
        if weights not in self.analysers:
            self.analysers = {"": self.analysers[""], weights: load_networks(self.config, weights)}
        return self.analysers[weights]

    def _with_key_images(self, study: StudyResults, stored: tuple[Result, ...]) -> AnalysisRecord:
        if study.study is None or not stored:
            return study.record
        pictures = key_pictures(study.study, stored[0].sha256)
        self.pending = study.study, pictures
        return replace(study.record, pictures=pictures)

    def draw_key_images(self) -> None:
        """Draw the key images of the last study, after its results were returned."""
        if self.pending is not None:
            (study, pictures), self.pending = self.pending, None
            for picture, content in zip(pictures, drawn(study), strict=True):
                self.spool.keep_result(content, picture.file_name)


def _series_used(record: AnalysisRecord) -> str:
    """The series used, for the job's history."""
    used = [f"{one.role} from series {one.number or '?'}" for one in record.series if one.used]
    return f"{', '.join(used)}; {len(record.series)} series in total" if used else ""


def _stored(spool: Spool, result: VerifiedResult) -> Result:
    """Store a result in the spool under the SHA-256 of its content."""
    sha256 = hashlib.sha256(result.content).hexdigest()
    return Result(
        sop_instance_uid=str(result.dataset.SOPInstanceUID),
        sop_class_uid=str(result.dataset.SOPClassUID),
        kind=result.kind,
        series_uid=str(result.dataset.SeriesInstanceUID),
        file_name=spool.keep_result(result.content, f"{sha256}.dcm"),
        sha256=sha256,
        size_bytes=len(result.content),
        transfer_syntax_uid=read_file_meta(result.content[:FILE_META_BYTES]).transfer_syntax_uid,
    )


def _limit_memory(worker: WorkerConfig, analyser: Analyser) -> None:
    if analyser.device.type == "cpu":
        limit = worker.memory_limit_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _loaded(analyser: Analyser) -> LoadedNetworks:
    device, weights = analyser.device, names_and_versions(analyser)
    digests = ", ".join(one.sha256 for one in analyser.identities)
    if device.type != "cuda":
        return LoadedNetworks(str(device), weights=weights, weights_sha256=digests)
    free, total = torch.cuda.mem_get_info(device)
    name = f"{device} {torch.cuda.get_device_name(device)}"
    return LoadedNetworks(name, (total - free) / 1e6, total / 1e6, weights, digests)


def names_and_versions(analyser: Analyser) -> str:
    """Names and versions of the networks."""
    return ", ".join(f"{one.name} {one.version}" for one in analyser.identities)
