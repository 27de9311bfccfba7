"""What the analysis process does with an order: read the files, run the pipeline, keep the results.

This is the only module of the hospital side that loads the networks.
"""

import hashlib
import os
import resource
import signal
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection

import structlog
import torch

from models.analyser import Analyser
from models.weights import WeightsInvalid
from sij_node.analyse.analysis_process import (
    AnalysisOutcome,
    AnalysisRequest,
    LoadedNetworks,
    answer_orders,
)
from sij_node.analyse.pipeline import (
    Ports,
    ResultRecipient,
    StudyResults,
    VerifiedResult,
    analyse_study,
)
from sij_node.config.profiles import Profile
from sij_node.config.settings import Config, WorkerConfig
from sij_node.dicom.part10 import transfer_syntax_of
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

LOWEST_PRIORITY = 19
"""The listener's syncs come before the networks' arithmetic."""


def serve(pipe: Connection, config: Config) -> None:
    """Load the networks, say so, and answer orders until the worker goes away."""
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
    log.info("networks ready", model=named(analyser), device=str(analyser.device))
    spool = Spool(config.node.data_folder / "spool")
    desk = InferenceServer({"": analyser}, spool, config)
    answer_orders(pipe, desk.fulfil, desk.draw, partial(_equipment, analyser))


def load_networks(config: Config, name: str) -> Analyser:
    """The networks of [worker], or of the [[weights]] with a name.

    Raises
    ------
    WeightsRefused
        If they cannot be used, or there are none of that name.
    """
    worker = config.worker
    try:
        return Analyser.load(
            config.networks_folder(name), worker.device, worker.threads, worker.mixed_precision
        )
    except WeightsInvalid as error:
        raise WeightsRefused(f"The networks cannot be used: {error}") from error


@dataclass
class InferenceServer:
    """Where one order after the other is done.

    Parameters
    ----------
    analysers
        By the names of their [[weights]]; those of [worker], which have none, are always there,
        and beside them the last others that a person has asked for.
    undrawn
        The study that was answered last and its pictures, until they are drawn.
    """

    analysers: dict[str, Analyser]
    spool: Spool
    config: Config
    undrawn: tuple[AnalysedStudy, tuple[KeyPicture, ...]] | None = None

    def fulfil(self, order: AnalysisRequest) -> AnalysisOutcome:
        """Analyse a study and keep its results."""
        study = self.results_of(order, self.config.profile_for(order.destination))
        kept = tuple(_kept(self.spool, made) for made in study.objects)
        record = self._with_pictures(study, kept)
        return AnalysisOutcome(kept, study.weights, _in_short(record), study.rejected, record)

    def results_of(self, order: AnalysisRequest, profile: Profile) -> StudyResults:
        """Analyse a study; nothing is kept."""
        ports = Ports(
            header=partial(read_header, self.spool),
            dataset=partial(read_checked, self.spool),
            analyse=self._analyser_of(order.weights).analyse,
            ae_title=self.config.node.ae_title,
            pseudonym=self.pseudonym,
        )
        destination = ResultRecipient(profile, order.history, order.priors)
        return analyse_study(order.instances, order.conflicts, ports, destination)

    def pseudonym(self, patient: PatientIdentity) -> str:
        """The same for a patient in every study."""
        key = secret_key(self.config.node.data_folder)
        return keyed_hash(key, "tracking", patient.identifier, patient.issuer)

    def _analyser_of(self, weights: str) -> Analyser:
        if weights not in self.analysers:
            self.analysers = {"": self.analysers[""], weights: load_networks(self.config, weights)}
        return self.analysers[weights]

    def _with_pictures(self, study: StudyResults, kept: tuple[Result, ...]) -> AnalysisRecord:
        if study.study is None or not kept:
            return study.record
        pictures = key_pictures(study.study, kept[0].sha256)
        self.undrawn = study.study, pictures
        return replace(study.record, pictures=pictures)

    def draw(self) -> None:
        """Draw the pictures of the study that was answered last; its results do not wait."""
        if self.undrawn is not None:
            (study, pictures), self.undrawn = self.undrawn, None
            for picture, content in zip(pictures, drawn(study), strict=True):
                self.spool.keep_result(content, picture.file_name)


def _in_short(record: AnalysisRecord) -> str:
    """Which series were used, for the job's history."""
    used = [f"{one.role} from series {one.number or '?'}" for one in record.series if one.used]
    return f"{', '.join(used)}; {len(record.series)} series in all" if used else ""


def _kept(spool: Spool, made: VerifiedResult) -> Result:
    """Put a result on the disk, under a name that says nothing but its content."""
    sha256 = hashlib.sha256(made.content).hexdigest()
    return Result(
        sop_instance_uid=str(made.dataset.SOPInstanceUID),
        sop_class_uid=str(made.dataset.SOPClassUID),
        kind=made.kind,
        series_uid=str(made.dataset.SeriesInstanceUID),
        file_name=spool.keep_result(made.content, f"{sha256}.dcm"),
        sha256=sha256,
        size_bytes=len(made.content),
        transfer_syntax_uid=transfer_syntax_of(made.content[:1024]),
    )


def _limit_memory(worker: WorkerConfig, analyser: Analyser) -> None:
    if analyser.device.type == "cpu":
        limit = worker.memory_limit_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _equipment(analyser: Analyser) -> LoadedNetworks:
    device = analyser.device
    digests = ", ".join(one.sha256 for one in analyser.identities)
    if device.type != "cuda":
        return LoadedNetworks(str(device), weights=named(analyser), weights_sha256=digests)
    free, total = torch.cuda.mem_get_info(device)
    name = f"{device} {torch.cuda.get_device_name(device)}"
    return LoadedNetworks(name, (total - free) / 1e6, total / 1e6, named(analyser), digests)


def named(analyser: Analyser) -> str:
    """Names and versions of the networks."""
    return ", ".join(f"{one.name} {one.version}" for one in analyser.identities)
