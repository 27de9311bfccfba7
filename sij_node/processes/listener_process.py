"""The listener process: Storage SCP, scheduler and alert monitor."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

import structlog

from sij_node.audit.messages import AuditMessage, HumanUser
from sij_node.audit.peer_events import PeerEvents
from sij_node.config.settings import Config
from sij_node.deliver.confirm_deliveries import (
    CONFIRM_S,
    CommitmentAnswers,
    DeliveryConfirmation,
)
from sij_node.domain.health import Process, ProcessRole
from sij_node.domain.storage_check import PARTS, CheckedFiles
from sij_node.domain.study import ReceivedInstance
from sij_node.network.scu import AssociationRequestor
from sij_node.network.storage_commitment import CommitmentScu
from sij_node.operate.alert_channels import channels_of
from sij_node.operate.alert_monitor import CHECK_ALERTS_S, AlertMonitor
from sij_node.operate.storage_check import StorageCheck, StorageCheckInBackground
from sij_node.processes.assembly import (
    Store,
    archive_search,
    audited,
    now,
    open_store,
    opened_trail,
    retry_policy,
    storage_service,
)
from sij_node.queue.completeness import Readiness, readiness_of
from sij_node.queue.corrections import StudyCorrections
from sij_node.queue.missing_images import MissingImages
from sij_node.queue.schedule import TICK_S, ScheduledTask, Scheduler
from sij_node.receive.c_store import StorageService
from sij_node.receive.listener import Listener
from sij_node.store.clear_spool import clear_spool
from sij_node.store.job_table import SCHEDULER
from sij_node.store.peer_activity_table import PeerActivityLog
from sij_node.store.process_table import HEARTBEAT_S, deregister, is_running, this_process
from sij_node.store.storage_check_table import record_round
from sij_node.store.stored_instances import read_header

log = structlog.get_logger()

DRAIN_S = 20.0
CLEANUP_S = 60.0


def run(config: Config, stop: threading.Event) -> None:
    """Receive studies and run the scheduler until `stop` is set; then drain.

    Raises
    ------
    ConfigurationInvalid
        If the port is in use or certificates cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    with open_store(config) as store, audited(config, ProcessRole.LISTENER) as trail:
        store.spool.clear_incoming()
        activity = PeerActivityLog(store.contacts)
        peers = [peer.ae_title for peer in config.peer]
        events = PeerEvents(
            activity, trail, store.patient_of, peers, config.audit.accepted_associations
        )
        service = storage_service(config, store, events)
        listener = Listener(config.listener, config.node.ae_title, config.peer, service)
        me = this_process(ProcessRole.LISTENER)
        monitor = AlertMonitor(config, store.table.database, store.spool, channels_of(config))
        corrections = StudyCorrections(store.table.database, store.spool, config.study)
        check = storage_check(config, store, service, trail.record, HumanUser(SCHEDULER))
        tasks = (
            *_heartbeats(store, me, activity),
            ScheduledTask(
                "apply corrections", TICK_S, lambda: corrections.apply_complete(time.monotonic())
            ),
            ScheduledTask("send alerts", CHECK_ALERTS_S, monitor.check_and_send),
            *_verification(config, check, stop),
            *commitment_tasks(config, store),
        )
        scheduler = scheduler_of(config, store, tasks, service, events)
        listener.start()
        scheduler.start()
        try:
            stop.wait()
        finally:
            listener.stop(DRAIN_S)
            scheduler.stop()
            deregister(store.processes, me, activity.write)
    log.info("listener stopped")


def _heartbeats(store: Store, me: Process, activity: PeerActivityLog) -> tuple[ScheduledTask, ...]:
    """Sent by the scheduler, so that a hanging scheduler shows as a missing heartbeat."""
    processes = store.processes
    return (
        ScheduledTask("send heartbeat", HEARTBEAT_S, lambda: processes.record_heartbeat(me)),
        ScheduledTask(
            "remove dead processes", CLEANUP_S, lambda: processes.remove_dead(me, is_running)
        ),
        ScheduledTask("write peer activity", HEARTBEAT_S, activity.write),
    )


def _verification(
    config: Config, check: StorageCheck, stop: threading.Event
) -> tuple[ScheduledTask, ...]:
    if not config.spool.verify_days:
        return ()
    every = timedelta(days=config.spool.verify_days)
    slow = StorageCheckInBackground(check, every, config.spool.verify_mb_per_s * 1e6, stop)
    return (ScheduledTask("verify stored files", TICK_S, slow.check_next),)


def commitment_tasks(config: Config, store: Store) -> tuple[ScheduledTask, ...]:
    """Confirm deliveries and answer requests for storage commitment, each peer for itself."""
    database = store.table.database
    caller = AssociationRequestor(config.node.ae_title, config.delivery, config.listener.tls)
    delays = (config.retry.initial_delay_s, config.retry.max_delay_s)
    retention = timedelta(days=config.spool.retention_days)
    tasks = []
    for peer in config.peer:
        scu = CommitmentScu(caller, peer)
        if peer.storage_commitment != "off":
            by_request = peer.storage_commitment == "request"
            timeout_s = config.delivery.commitment_timeout_s
            confirmation = DeliveryConfirmation(
                database, scu, by_request, timeout_s, *delays, config.confirming_titles
            )
            tasks.append(_each_peer(f"confirm deliveries to {peer.ae_title}", confirmation.run))
        if config.listener.storage_commitment:
            answers = CommitmentAnswers(database, store.spool, scu, retention, *delays)
            tasks.append(_each_peer(f"answer {peer.ae_title}", answers.run))
    return tuple(tasks)


def _each_peer(name: str, run: Callable[[float], None]) -> ScheduledTask:
    return ScheduledTask(name, CONFIRM_S, lambda: run(time.monotonic()))


def verify(config: Config, who: str, *, repairs: bool) -> Iterator[CheckedFiles]:
    """Check all stored files now, part by part, for the command line.

    Raises
    ------
    DatabaseUnavailable, SpoolUnavailable
    """
    with open_store(config) as store, opened_trail(config) as trail:
        activity = PeerActivityLog(store.contacts)
        service = storage_service(config, store, PeerEvents(activity, trail, store.patient_of))
        check = storage_check(config, store, service, trail.record, HumanUser(who))
        together = CheckedFiles()
        for part in PARTS:
            checked = check.check_part(part, now(), repairs=repairs)
            together += checked
            yield checked
        if repairs:
            record_round(store.table.database, together)


def storage_check(
    config: Config,
    store: Store,
    service: StorageService,
    record: Callable[[AuditMessage], None],
    who: HumanUser,
) -> StorageCheck:
    """The check of the stored files of a node, with its store and its Storage SCP."""
    return StorageCheck(
        store.table,
        store.spool,
        service,
        frozenset(peer.ae_title for peer in config.peer),
        lambda: frozenset(one.process.weights for one in store.processes.seen()) - {""},
        record,
        timedelta(days=config.spool.retention_days),
        who,
    )


def scheduler_of(
    config: Config,
    store: Store,
    tasks: Sequence[ScheduledTask],
    service: StorageService,
    events: PeerEvents,
) -> Scheduler:
    """The scheduler of a node, with its store and its Storage SCP."""

    def assess(received: Sequence[ReceivedInstance]) -> Readiness:
        return readiness_of(received, partial(read_header, store.spool), config.priority_rule)

    missing = MissingImages(
        store.table.database,
        config.peer_titled,
        partial(archive_search, config, events),
    )
    return Scheduler(
        store.table,
        config.study,
        analysis_policy=retry_policy(config.retry, config.retry.analysis_attempts),
        delivery_policy=retry_policy(config.retry, config.retry.delivery_attempts),
        lease_s=config.worker.lease_s,
        assess=assess,
        clear_spool=lambda: clear_spool(
            store.table.database, store.spool, config.spool.retention_days, now()
        ),
        tasks=tasks,
        is_carried=service.is_carried,
        missing_at=missing.of_job,
    )
