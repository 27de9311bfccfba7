"""The node: the one place where configuration and parts are put together."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sij_node.analyse.analysis_process import AnalysisProcess
from sij_node.analyse.analysis_worker import AnalysisWorker
from sij_node.analyse.prior_search import PriorSearch
from sij_node.audit.messages import (
    HumanUser,
    application_activity,
)
from sij_node.audit.peer_events import Arrivals, Departures
from sij_node.audit.trail import AuditTrail, open_trail
from sij_node.config.settings import Config, DeliveryConfig, PeerConfig, RetryConfig
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.doctor import check_results as judging
from sij_node.domain.alerts import AlertKind, AlertLine
from sij_node.domain.health import HealthStatus, Process, ProcessRole
from sij_node.domain.job import RetryPolicy, State
from sij_node.domain.study import ReceivedInstance, Registration
from sij_node.domain.users import SessionLimits
from sij_node.errors import (
    ConfigurationInvalid,
    WeightsRefused,
)
from sij_node.network.dicom_folder import FolderContents
from sij_node.network.observers import ReceiveObserver
from sij_node.network.scu import AssociationRequestor
from sij_node.network.store_scu import SendResult, StoreScu
from sij_node.operate.admin import Admin
from sij_node.operate.alert_channels import channels_of
from sij_node.operate.alert_monitor import LOOK_S, AlertMonitor
from sij_node.operate.authentication import Authentication
from sij_node.operate.health_check import HealthReport, check_up
from sij_node.queue.completeness import Readiness, readiness_of
from sij_node.queue.schedule import ScheduledTask, Scheduler
from sij_node.receive.c_store import StorageService
from sij_node.receive.listener import Listener
from sij_node.store.database import Schema, open_database, schema_of
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity import PeerActivityLog, PeerActivityTable
from sij_node.store.process_table import (
    BEAT_S,
    ProcessTable,
    beating,
    lives_here,
    take_leave,
    this_process,
)
from sij_node.store.secret_key import secret_key
from sij_node.store.spool import Spool, instance_file_name
from sij_node.store.stored_instances import read_header
from sij_node.store.user_table import UserTable

if TYPE_CHECKING:
    from models.analyser import Analyser
    from sij_node.domain.weights_comparison import WeightsComparison
    from sij_node.web.dependencies import Parts

log = structlog.get_logger()

DRAIN_S = 20.0


@dataclass(frozen=True)
class Store:
    """The job table, the accounts and the spool of one configuration."""

    table: JobTable
    accounts: UserTable
    spool: Spool
    processes: ProcessTable
    contacts: PeerActivityTable

    def check_up(self, config: Config) -> HealthReport:
        """The node's health now, in words."""
        return check_up(config, self.table.database, self.spool)

    def patient_of(self, study_uid: str) -> str:
        """The patient identifier of a study, for the audit trail; never to be logged."""
        return next((one.patient_id for one in self.table.instances(study_uid)), "")


@contextmanager
def open_store(config: Config) -> Iterator[Store]:
    """Open what must survive a power cut, creating and migrating it where needed.

    Raises
    ------
    DatabaseUnavailable, SpoolUnavailable
    """
    spool = Spool(config.node.data_folder / "spool")
    engine = open_database(config.database_url)
    try:
        table = JobTable(engine)
        yield Store(
            table,
            UserTable(table.database),
            spool,
            ProcessTable(table.database),
            PeerActivityTable(table.database),
        )
    finally:
        engine.dispose()


# ---- the listener and its clock ----------------------------------------------------------------


def listen(config: Config, stop: threading.Event) -> None:
    """Receive studies and keep the clock until `stop` is set; then drain.

    Raises
    ------
    ConfigurationInvalid
        If the address cannot be listened on, or certificates cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    with open_store(config) as store:
        store.spool.clear_incoming()
        book = PeerActivityLog(store.contacts)
        with audited(config, ProcessRole.LISTENER) as trail:
            arrivals = Arrivals(
                book,
                trail,
                [peer.ae_title for peer in config.peer],
                config.audit.accepted_associations,
            )
            reception = _reception(config, store, arrivals)
            listener = Listener(config.listener, config.node.ae_title, config.peer, reception)
            me = this_process(ProcessRole.LISTENER)
            watchman = AlertMonitor(config, store.table.database, store.spool, channels_of(config))
            errands = (
                *_signs_of_life(store, me, book),
                ScheduledTask("tell people what is wrong", LOOK_S, watchman.look),
            )
            schedule = _schedule(config, store, errands)
            listener.start()
            schedule.start()
            try:
                stop.wait()
            finally:
                listener.stop(DRAIN_S)
                schedule.stop()
                take_leave(store.processes, me, book.write)
    log.info("listener stopped")


@contextmanager
def audited(config: Config, role: ProcessRole) -> Iterator[AuditTrail]:
    """Open the audit trail of a process, and record that the process starts and stops.

    Raises
    ------
    ConfigurationInvalid
        If the certificates of [audit] cannot be used.
    """
    trail = open_trail(config)
    trail.record(application_activity(trail.node, role, started=True))
    try:
        yield trail
    finally:
        trail.record(application_activity(trail.node, role, started=False))
        trail.close()


def _signs_of_life(store: Store, me: Process, book: PeerActivityLog) -> tuple[ScheduledTask, ...]:
    """What the listener's clock writes down: as long as it does, the clock is alive too."""
    return (
        ScheduledTask("report this process", BEAT_S, lambda: store.processes.beat(me)),
        ScheduledTask("forget processes", 60.0, lambda: store.processes.succeed(me, lives_here)),
        ScheduledTask("note contacts", BEAT_S, book.write),
    )


def _reception(config: Config, store: Store, witness: ReceiveObserver) -> StorageService:
    priorities = {peer.ae_title: peer.priority for peer in config.peer}

    def register(instance: ReceivedInstance) -> Registration:
        is_image = instance.sop_class_uid in IMAGE_CLASSES
        return store.table.register(instance, priorities[instance.source_ae], is_image)

    return StorageService(
        spool=store.spool,
        file_name_of=instance_file_name,
        register=register,
        refuse=store.table.refuse,
        room=lambda: store.spool.free_mb() >= config.spool.min_free_mb,
        max_nesting=config.listener.max_nesting,
        witness=witness,
    )


def _schedule(config: Config, store: Store, errands: Sequence[ScheduledTask]) -> Scheduler:
    def look_at(received: Sequence[ReceivedInstance]) -> Readiness:
        return readiness_of(received, partial(read_header, store.spool), config.priority_rule)

    return Scheduler(
        store.table,
        config.study,
        analysis_policy=_policy(config.retry, config.retry.analysis_attempts),
        delivery_policy=_policy(config.retry, config.retry.delivery_attempts),
        lease_s=config.worker.lease_s,
        look_at=look_at,
        clear_spool=lambda: clear_spool(store, config.spool.retention_days, datetime.now(UTC)),
        errands=errands,
    )


def clear_spool(store: Store, keep_days: float, now: datetime) -> int:
    """Remove files of studies that were finished long ago; returns how many studies."""
    moment = now - timedelta(days=keep_days)
    cleared = 0
    for study_uid in store.table.finished_before(moment):
        cleared += store.table.forget(study_uid, moment, store.spool)
    if cleared:
        log.info("spool cleared", removed=cleared)
    return cleared


# ---- the worker and the courier ----------------------------------------------------------------


def work(config: Config, stop: threading.Event) -> None:
    """Analyse and deliver until `stop` is set; then finish what is in hand.

    Raises
    ------
    WeightsRefused
        If the networks cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    # Idle threads of the networks must not spin while the listener needs the processor.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nor share out numpy's small products, which takes longer than doing them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    me = this_process(ProcessRole.WORKER)
    with (
        open_store(config) as store,
        audited(config, ProcessRole.WORKER) as trail,
        ThreadPoolExecutor(1, "courier") as threads,
    ):
        book = PeerActivityLog(store.contacts)
        departures = Departures(book, trail, store.patient_of)
        worker = _worker(config, store, me.name, stop, departures)
        delivering = threads.submit(_courier(config, store, me.name, stop, departures).run)
        delivering.add_done_callback(lambda _: stop.set())
        with beating(store.processes, lambda: worker.described(me), book.write):
            try:
                worker.run()
            finally:
                stop.set()
            delivering.result()  # had it failed, this process ends with its error
    log.info("worker stopped", worker=me.name)


def _worker(
    config: Config, store: Store, name: str, stop: threading.Event, departures: Departures
) -> AnalysisWorker:
    return AnalysisWorker(
        name,
        store.table,
        AnalysisProcess(analyse_in_child, (config,), config.worker.analysis_timeout_s),
        _policy(config.retry, config.retry.analysis_attempts),
        config.worker.lease_s,
        stop,
        config.shadow_titles,
        _priors(config, store, departures).priors_for,
    )


def _priors(config: Config, store: Store, departures: Departures) -> PriorSearch:
    caller = AssociationRequestor(config.node.ae_title, config.delivery, config.listener.tls)
    return PriorSearch(
        store.table, store.spool, caller, config.peer_titled, config.priors, departures
    )


def analyse_in_child(pipe: Connection, config: Config) -> None:
    """Run in a process of its own; only there are the networks loaded."""
    from sij_node.analyse.inference import serve  # noqa: PLC0415 - the listener must not load torch

    serve(pipe, config)


def _courier(
    config: Config, store: Store, name: str, stop: threading.Event, departures: Departures
) -> DeliveryWorker:
    sender = StoreScu(config.node.ae_title, config.delivery, config.listener.tls)
    return DeliveryWorker(
        name,
        store.table,
        store.spool,
        sender.send,
        config.peer_titled,
        config.profile_for,
        _policy(config.retry, config.retry.delivery_attempts),
        config.worker.lease_s,
        stop,
        departures,
        config.shadow_titles,
    )


def _policy(retry: RetryConfig, attempts: int) -> RetryPolicy:
    return RetryPolicy(attempts, retry.initial_delay_s, retry.max_delay_s)


# ---- the page and the API -----------------------------------------------------------------------


@contextmanager
def open_access(config: Config) -> Iterator[Authentication]:
    """Who may use the page and the API, to be looked at or changed.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable, SpoolUnavailable
    """
    trail = open_trail(config)
    try:
        with open_store(config) as store:
            yield _access(config, store, trail)
    finally:
        trail.close()


def _access(config: Config, store: Store, trail: AuditTrail) -> Authentication:
    limits = SessionLimits(
        idle=timedelta(minutes=config.web.idle_timeout_minutes),
        longest=timedelta(hours=config.web.max_session_hours),
    )
    return Authentication(store.accounts, limits, _now, time.monotonic, trail.record)


def web_parts(config: Config, store: Store, trail: AuditTrail) -> "Parts":
    """What the page and the API are put together from."""
    from sij_node.operate.metrics import Metrics  # noqa: PLC0415 - only this process needs these
    from sij_node.web.dependencies import Parts  # noqa: PLC0415
    from sij_node.web.metrics_route import metrics_router  # noqa: PLC0415

    metrics = Metrics(config, store.table, store.contacts, store.spool)
    return Parts(
        config=config,
        admin=_admin_for(config, store, trail),
        access=_access(config, store, trail),
        clock=_now,
        key=secret_key(config.node.data_folder),
        routers=(metrics_router(metrics.text, config.metrics),),
    )


@contextmanager
def open_admin(config: Config, who: str) -> Iterator[Admin]:
    """The questions and actions of the command line, in somebody's name.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable, SpoolUnavailable
    """
    trail = open_trail(config)
    try:
        with open_store(config) as store:
            yield _admin_for(config, store, trail)(HumanUser(who))
    finally:
        trail.close()


def _admin_for(config: Config, store: Store, trail: AuditTrail) -> Callable[[HumanUser], Admin]:
    sender = StoreScu(config.node.ae_title, config.delivery, config.listener.tls)
    key = secret_key(config.node.data_folder)
    return partial(Admin, config, store.table, store.spool, trail.record, sender.echo, key)


def serve_page(config: Config, stop: threading.Event, announce: Callable[[str], None]) -> None:
    """Serve the page and the API until `stop` is set.

    Parameters
    ----------
    announce
        Told how to set the first administrator's password, as long as there is none.

    Raises
    ------
    ConfigurationInvalid
        If the address cannot be listened on, or the certificate cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    from sij_node.web.app import create_app, serve  # noqa: PLC0415 - only this process needs it

    with open_store(config) as store, audited(config, ProcessRole.WEB) as trail:
        parts = web_parts(config, store, trail)
        secret = parts.access.first_invitation()
        if secret is not None:
            link = invitation_link(config, secret)
            announce(f"Set the administrator's password within 24 hours: {link}")
        me = this_process(ProcessRole.WEB)
        with beating(store.processes, lambda: me):
            serve(create_app(parts), config.web, stop)


def invitation_link(config: Config, secret: str) -> str:
    """Where somebody who was invited sets their password."""
    return f"{config.web.url}/welcome/{secret}"


def _now() -> datetime:
    return datetime.now(UTC)


def migrate(config: Config) -> Schema:
    """Bring the database up to date, making it where it is new; no process has to run.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable
    """
    open_database(config.database_url).dispose()
    return schema_of(config.database_url)


def examine(config_file: Path, quick: bool) -> Iterator[judging.CheckResult]:
    """What the doctor finds; a quick look loads no networks and sends no study."""
    from sij_node.doctor.run_checks import examine as look  # noqa: PLC0415 - only one command

    return look(config_file, None if quick else _named_networks)


def _named_networks(config: Config, name: str) -> str:
    """Load networks, which asks them their known case, and name them."""
    from sij_node.analyse.inference import load_networks  # noqa: PLC0415 - others must not load torch

    return _named(load_networks(config, name))


def compare(config: Config, folder: Path, job_ids: Sequence[int], last: int) -> "WeightsComparison":
    """Analyse stored studies with the networks of [worker] and those of a folder.

    The outcome is kept in the folder ``comparisons`` of the data folder too.

    Parameters
    ----------
    job_ids
        The studies of these jobs; without any, those of the `last` jobs that had results.

    Raises
    ------
    WeightsRefused, UnknownJob, DatabaseUnavailable, SpoolUnavailable
    """
    from models.analyser import Analyser  # noqa: PLC0415 - others must not load torch
    from models.weights import WeightsInvalid  # noqa: PLC0415
    from sij_node.analyse.compare_weights import compare_studies  # noqa: PLC0415
    from sij_node.analyse.inference import load_networks  # noqa: PLC0415
    from sij_node.domain.weights_comparison import WeightsComparison  # noqa: PLC0415

    before = load_networks(config, "")
    worker = config.worker
    try:
        after = Analyser.load(folder, worker.device, worker.threads, worker.mixed_precision)
    except WeightsInvalid as error:
        raise WeightsRefused(f"The networks in {folder} cannot be used: {error}") from error
    with open_store(config) as store:
        jobs = [store.table.get(number) for number in job_ids] or store.table.jobs(
            (State.DELIVERED, State.CONFIRMED, State.NOT_SENT), last
        )
        studies = tuple(compare_studies(store.table, store.spool, jobs, before, after))
    found = WeightsComparison(_named(before), _named(after), studies)
    _keep_comparison(config.node.data_folder, found)
    return found


def _named(networks: "Analyser") -> str:
    return ", ".join(f"{one.name} {one.version}" for one in networks.identities)


def _keep_comparison(data_folder: Path, found: "WeightsComparison") -> None:
    folder = data_folder / "comparisons"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / f"{_now():%Y%m%dT%H%M%SZ}.json").write_text(json.dumps(found.as_json(), indent=2))


def conformance_statement(config: Config) -> str:
    """What a node with a configuration does on the network, as DICOM asks for it."""
    from sij_node.conformance import statement  # noqa: PLC0415 - only one command

    return statement(config)


def write_results(
    config: Config, study_uid: str, folder: Path, profile: str, who: str, *, as_pictures: bool
) -> Iterator[Path]:
    """Make a stored study's results, or pictures of them, again in a folder; nothing is sent.

    It is recorded who took them, as for a download, and before the first file is there.

    Parameters
    ----------
    profile
        Which results, by the name of a profile; empty for what the study's sender gets.

    Raises
    ------
    UnknownJob, UnknownName, ImagesCleared, WeightsRefused, DatabaseUnavailable, SpoolUnavailable
    """
    from sij_node.analyse.regenerate import files_of, pictures_of, recreated  # noqa: PLC0415

    wanted = config.profile_named(profile) if profile else None
    trail = open_trail(config)
    try:
        with open_store(config) as store:
            departures = Departures(PeerActivityLog(store.contacts), trail, store.patient_of)
            priors_for = _priors(config, store, departures).priors_for
            stored = (config, store.table, store.spool, priors_for, study_uid)
            made = recreated(*stored, wanted, as_pictures=as_pictures)
            folder.mkdir(parents=True, exist_ok=True)
            admin = _admin_for(config, store, trail)(HumanUser(who))
            admin.note_results_written(study_uid, profile)
            for name, content in (pictures_of if as_pictures else files_of)(made):
                (folder / name).write_bytes(content)
                yield folder / name
    finally:
        trail.close()


# ---- trying things out -------------------------------------------------------------------------


def tell_trial(config: Config) -> tuple[str, ...]:
    """Send a trial notice by every channel; returns their names.

    Raises
    ------
    ConfigurationInvalid
        If a password, a secret or a certificate cannot be read.
    NoticeNotSent
    """
    line = AlertLine(
        AlertKind.NEW, HealthStatus.OK, "A trial: nothing is wrong.", "Nothing has to be done."
    )
    channels = channels_of(config)
    for channel in channels:
        channel.send((line,))
    return tuple(channel.name for channel in channels)


def send_contents(
    contents: FolderContents, receiver: str, called: str, calling: str
) -> Iterator[SendResult]:
    """Send the DICOM files of a folder to a storage SCP.

    Raises
    ------
    ConfigurationInvalid
        If the receiver is not HOST:PORT, or there is nothing to send.
    DestinationUnavailable
    """
    host, _, port = receiver.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationInvalid(f"--to {receiver} is not HOST:PORT.")
    if not contents.objects:
        raise ConfigurationInvalid("There is no DICOM file to send.")
    peer = PeerConfig(ae_title=called, networks=("127.0.0.1",), host=host, port=int(port))
    yield from StoreScu(calling, DeliveryConfig()).send(peer, contents.objects)
