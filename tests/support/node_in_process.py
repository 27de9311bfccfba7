"""A whole node in the test's own process: listener, scheduler, analysis and delivery.

Everything is real but the networks, which a test invents, and the clock, which it moves. Images
come in and results go out through associations, from and to an archive on this machine.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from models.analyser import Analysis, NetworkIdentity
from models.findings import Sequence as Kind
from models.volume import Volume
from sij_node.analyse.analysis_process import (
    AnalysisRequest,
    Answer,
    LoadedNetworks,
)
from sij_node.analyse.analysis_worker import AnalysisWorker
from sij_node.analyse.inference import InferenceServer
from sij_node.audit.messages import HumanUser
from sij_node.config.routing import recipients_of
from sij_node.config.settings import Config
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.deliver.senders import senders
from sij_node.domain.job import Job
from sij_node.errors import NodeError
from sij_node.operate.admin import Admin
from sij_node.processes.assembly import Store, admin_for, open_store, retry_policy, storage_service
from sij_node.processes.listener_process import scheduler_of
from sij_node.queue.corrections import StudyCorrections
from sij_node.receive.listener import Listener
from sij_node.store.job_queries import jobs_of_study
from tests.support.result_inputs import joints_in_patient, regions_in_patient, sighted
from tests.support.unrecorded_events import NO_TRAIL, no_events

NETWORKS = (
    NetworkIdentity("contour", "1.0", "a" * 64, "Phantoms only.", "cpu"),
    NetworkIdentity("lesion", "1.0", "b" * 64, "Phantoms only.", "cpu"),
)
ARCHIVE = "ARCHIVE"
BUSY_S = 300
"""How long either side waits for the other on a busy machine."""
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


class InventedNetworks:
    """Sees both joints on every pair of volumes."""

    identities = NETWORKS

    def analyse(self, t1: Volume, stir: Volume) -> Analysis:
        delineations = [joints_in_patient(volume) for volume in (t1, stir)]
        regions = [regions_in_patient(volume) for volume in (t1, stir)]
        return Analysis(*delineations, *regions, tuple(sighted(t1, Kind.T1)), NETWORKS, {})


class _SameProcess:
    """Analyses without a process of its own."""

    networks = LoadedNetworks()

    def __init__(self, server: InferenceServer) -> None:
        self._server = server

    def analyse(self, request: AnalysisRequest, check: Callable[[], None]) -> Answer:
        try:
            return self._server.analyse(request)
        except NodeError as error:
            return error


class StoringArchive:
    """Keeps what it is sent, and answers queries about what it has.

    Parameters
    ----------
    refused_classes
        SOP classes that it does not accept.
    """

    def __init__(self, refused_classes: Sequence[str] = ()) -> None:
        self.held: list[Dataset] = []
        self.images: list[Dataset] = []
        self.asked: list[str] = []
        self.node_port = 0
        self._entity = _entity(ARCHIVE)
        self._entity.supported_contexts = [
            one
            for one in AllStoragePresentationContexts
            if one.abstract_syntax not in refused_classes
        ]
        for one in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59"):
            if one not in refused_classes:
                self._entity.add_supported_context(one)
        for model in (FIND, MOVE):
            self._entity.add_supported_context(model)
        self._entity.requested_contexts = [build_context(MRImageStorage, ExplicitVRLittleEndian)]
        handlers = [
            (evt.EVT_C_STORE, self._keep),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
        ]
        self._server = self._entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers
        )
        self.port = self._server.socket.getsockname()[1]

    def _keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.held.append(dcmread(_file(dataset)))
        return 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append("find")
        for uid in sorted({one.SeriesInstanceUID for one in self.images}):
            answer = Dataset()
            answer.QueryRetrieveLevel = "SERIES"
            answer.SeriesInstanceUID, answer.Modality = uid, "MR"
            answer.NumberOfSeriesRelatedInstances = len(self._of_series(uid))
            yield 0xFF00, answer

    def _move(self, event: evt.Event) -> Iterator[object]:
        self.asked.append(f"move {event.identifier.SeriesInstanceUID}")
        wanted = self._of_series(event.identifier.SeriesInstanceUID)
        yield "127.0.0.1", self.node_port, {"ae_title": event.move_destination}
        yield len(wanted)
        for one in wanted:
            yield 0xFF00, one

    def _of_series(self, uid: str) -> list[Dataset]:
        return [one for one in self.images if one.SeriesInstanceUID == uid]

    def close(self) -> None:
        self._server.shutdown()

    def of_kind(self, modality: str) -> list[Dataset]:
        """What it holds of a modality, in the order of arrival."""
        return [one for one in self.held if one.Modality == modality]

    def take(self) -> list[Dataset]:
        """What it holds, which it then forgets."""
        held, self.held = self.held, []
        return held


class NodeInProcess:
    """The parts of a node, each moved by the test."""

    def __init__(self, config: Config, store: Store, archive: StoringArchive) -> None:
        self.config, self.store, self.archive = config, store, archive
        self.table, self.spool = store.table, store.spool
        events = no_events()
        bound = socket.create_server(("127.0.0.1", 0))
        service = storage_service(config, store, events)
        self.listener = Listener(
            config.listener, config.node.ae_title, config.peer, service, bound=bound
        )
        self.scheduler = scheduler_of(config, store, (), service, events)
        self.corrections = StudyCorrections(store.table.database, store.spool, config.study)
        self.inference = server = InferenceServer({"": InventedNetworks()}, store.spool, config)
        stop = threading.Event()
        policy = retry_policy(config.retry, 3)
        self._analysis = AnalysisWorker(
            "worker",
            store.table,
            _SameProcess(server),
            policy,
            60,
            stop,
            partial(recipients_of, config),
        )
        self._delivery = DeliveryWorker(
            "worker",
            store.table,
            store.spool,
            senders(config).send,
            config.destination_titled,
            config.profile_for,
            policy,
            60,
            stop,
            events,
            config.shadow_titles,
        )
        self._now = 0.0

    @property
    def admin(self) -> Admin:
        return admin_for(self.config, self.store, NO_TRAIL)(HumanUser("ada"))

    def send(self, *datasets: Dataset, source: str = ARCHIVE) -> list[int]:
        """Send datasets in one association; returns the statuses."""
        entity = _entity(source)
        contexts = sorted({(one.SOPClassUID, _syntax(one)) for one in datasets})
        entity.requested_contexts = [build_context(uid, syntax) for uid, syntax in contexts]
        association = entity.associate("127.0.0.1", self.listener.port, ae_title="SIJ")
        assert association.is_established
        try:
            return [association.send_c_store(one).Status for one in datasets]
        finally:
            association.release()

    def send_files(self, folder: Path, contents: Sequence[bytes]) -> list[int]:
        """Send DICOM files byte for byte in one association; returns the statuses."""
        files = []
        for number, content in enumerate(contents):
            files.append(folder / f"{number}.dcm")
            files[-1].write_bytes(content)
        heads = [dcmread(file, specific_tags=["SOPClassUID"]) for file in files]
        entity = _entity(ARCHIVE)
        contexts = sorted({(one.SOPClassUID, _syntax(one)) for one in heads})
        entity.requested_contexts = [build_context(uid, syntax) for uid, syntax in contexts]
        association = entity.associate("127.0.0.1", self.listener.port, ae_title="SIJ")
        try:
            return [association.send_c_store(file).Status for file in files]
        finally:
            association.release()

    def wait(self, seconds: float) -> None:
        """Let time pass for the scheduler."""
        until = self._now + seconds
        while self._now < until:
            self._now += 1
            self.scheduler.completion.queue_complete_studies(self._now)
            self.corrections.apply_complete(self._now)

    def work(self) -> None:
        """Analyse and deliver until there is nothing left to do."""
        while self._analysis.analyse_next() or self._delivery.deliver_next():
            pass

    def take(self, *datasets: Dataset, source: str = ARCHIVE) -> list[Dataset]:
        """Send images, let the node finish, and return what the archive received."""
        statuses = self.send(*datasets, source=source)
        assert set(statuses) == {0x0000}
        return self.finish()

    def finish(self) -> list[Dataset]:
        """Let the node finish, and return what the archive received since the last time."""
        self.wait(30)
        self.work()
        return self.archive.take()

    def jobs(self, study_uid: str) -> list[Job]:
        return list(jobs_of_study(self.table.database, study_uid))


@contextmanager
def node_in_process(
    folder: Path, database_url: str = "", refused_classes: Sequence[str] = (), **settings: Any
) -> Iterator[NodeInProcess]:
    """A node whose results go to an archive on this machine.

    Parameters
    ----------
    settings
        Sections of config.toml; ``peer`` adds to the one peer.
    """
    archive = StoringArchive(refused_classes)
    config = _config(folder, database_url, archive.port, settings)
    try:
        with open_store(config) as store:
            node = NodeInProcess(config, store, archive)
            node.listener.start()
            archive.node_port = node.listener.port
            try:
                yield node
            finally:
                node.listener.stop(drain_s=5)
    finally:
        archive.close()


def _config(folder: Path, database_url: str, port: int, settings: dict[str, Any]) -> Config:
    reached = {"networks": ["127.0.0.0/8"], "host": "127.0.0.1", "port": port}
    peer = {"profile": "minimal", **reached, **settings.pop("peer", {})}
    peers = [{**peer, "ae_title": title} for title in (ARCHIVE, "MODALITY")]
    study = {"stable_age_s": 5, "stable_age_without_pair_s": 10, **settings.pop("study", {})}
    delivery = {"connect_timeout_s": BUSY_S, "response_timeout_s": BUSY_S}
    return Config.model_validate(
        {
            "node": {"ae_title": "SIJ", "data_folder": str(folder)},
            "peer": peers,
            "study": study,
            "delivery": {**delivery, **settings.pop("delivery", {})},
            "database": {"url": database_url},
            "spool": {"min_free_mb": 1},
            **settings,
        }
    )


def _entity(title: str) -> AE:
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = BUSY_S
    return entity


def _syntax(dataset: Dataset) -> str:
    return str(dataset.file_meta.TransferSyntaxUID)


def _file(dataset: Dataset) -> DicomBytesIO:
    file = DicomBytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return file
