"""Parts shared by several processes and commands: store, audit trail, `Admin`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sij_node.analyse.prior_search import PriorSearch
from sij_node.audit.messages import HumanUser, application_activity
from sij_node.audit.peer_events import PeerEvents
from sij_node.audit.trail import AuditTrail, open_trail
from sij_node.config.settings import Config, PeerConfig, RetryConfig
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.domain.health import ProcessRole
from sij_node.domain.job import RetryPolicy
from sij_node.domain.study import ReceivedInstance, Registration
from sij_node.domain.users import SessionLimits
from sij_node.network.connection_test import check_connection
from sij_node.network.query_retrieve import ArchiveSearch, Deadline
from sij_node.network.scu import AssociationRequestor
from sij_node.operate.admin import Admin
from sij_node.operate.authentication import Authentication
from sij_node.receive.c_store import StorageService
from sij_node.receive.storage_commitment import CommitmentService
from sij_node.store.commitments import add_peer_request, apply_report
from sij_node.store.database import Schema, open_database, schema_of
from sij_node.store.job_queries import patient_id_of
from sij_node.store.job_table import JobTable
from sij_node.store.peer_activity_table import PeerActivityTable
from sij_node.store.process_table import ProcessTable
from sij_node.store.received_copies import add_copy
from sij_node.store.refusals import add_refusal
from sij_node.store.registration import received_instance
from sij_node.store.secret_key import secret_key
from sij_node.store.spool import Spool, instance_file_name
from sij_node.store.stored_instances import own_result
from sij_node.store.user_table import UserTable


@dataclass(frozen=True)
class Store:
    """Database and spool of a node."""

    table: JobTable
    accounts: UserTable
    spool: Spool
    processes: ProcessTable
    contacts: PeerActivityTable

    def patient_of(self, study_uid: str) -> str:
        """Patient ID of a study, for the audit trail only; never log it."""
        return patient_id_of(self.table.database, study_uid)


@contextmanager
def open_store(config: Config) -> Iterator[Store]:
    """Open database and spool; create or migrate them if necessary.

    Raises
    ------
    DatabaseUnavailable, SpoolUnavailable
    """
    spool = Spool(config.node.data_folder / "spool")
    engine = open_database(config.database_url)
    try:
        table = JobTable(engine)
        database = table.database
        yield Store(
            table,
            UserTable(database),
            spool,
            ProcessTable(database),
            PeerActivityTable(database),
        )
    finally:
        engine.dispose()


def migrate(config: Config) -> Schema:
    """Create the database or migrate it to the current schema.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable
    """
    open_database(config.database_url).dispose()
    return schema_of(config.database_url)


@contextmanager
def opened_trail(config: Config) -> Iterator[AuditTrail]:
    """The audit trail, closed at the end of the block.

    Raises
    ------
    ConfigurationInvalid
        If the certificates of [audit] cannot be used.
    """
    trail = open_trail(config)
    try:
        yield trail
    finally:
        trail.close()


@contextmanager
def audited(config: Config, role: ProcessRole) -> Iterator[AuditTrail]:
    """The audit trail of a process, which records its start and stop.

    Raises
    ------
    ConfigurationInvalid
        If the certificates of [audit] cannot be used.
    """
    with opened_trail(config) as trail:
        trail.record(application_activity(trail.node, role, started=True))
        try:
            yield trail
        finally:
            trail.record(application_activity(trail.node, role, started=False))


@contextmanager
def open_admin(config: Config, who: str) -> Iterator[Admin]:
    """Open an `Admin` that acts for a user, for the command line.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable, SpoolUnavailable
    """
    with opened_trail(config) as trail, open_store(config) as store:
        yield admin_for(config, store, trail)(HumanUser(who))


def admin_for(config: Config, store: Store, trail: AuditTrail) -> Callable[[HumanUser], Admin]:
    """Make an `Admin` for any user."""
    check = partial(check_connection, config)
    key = secret_key(config.node.data_folder)
    return partial(Admin, config, store.table, store.spool, trail.record, check, key)


@contextmanager
def open_authentication(config: Config) -> Iterator[Authentication]:
    """User accounts, for the command line.

    Raises
    ------
    ConfigurationInvalid, DatabaseUnavailable, SpoolUnavailable
    """
    with opened_trail(config) as trail, open_store(config) as store:
        yield authentication_for(config, store, trail)


def authentication_for(config: Config, store: Store, trail: AuditTrail) -> Authentication:
    """User accounts and sessions."""
    limits = SessionLimits(
        idle=timedelta(minutes=config.web.idle_timeout_minutes),
        longest=timedelta(hours=config.web.max_session_hours),
    )
    return Authentication(store.accounts, limits, now, time.monotonic, trail.record)


def prior_search(config: Config, store: Store, events: PeerEvents) -> PriorSearch:
    """The search for prior results in the store and in archives."""
    caller = AssociationRequestor(config.node.ae_title, config.delivery, config.listener.tls)
    return PriorSearch(store.table, store.spool, caller, config.peer_titled, config.priors, events)


def archive_search(config: Config, events: PeerEvents, peer: PeerConfig) -> ArchiveSearch:
    """A search in the archive of a peer, with the time limit of [priors]."""
    return ArchiveSearch(
        AssociationRequestor(config.node.ae_title, config.delivery, config.listener.tls),
        peer,
        Deadline(config.priors.timeout_s),
        config.priors.max_studies,
        events.query_sent,
        events.studies_retrieved,
    )


def storage_service(config: Config, store: Store, events: PeerEvents) -> StorageService:
    """The Storage SCP of a node, with its store."""
    priorities = {peer.ae_title: peer.priority for peer in config.peer}

    def register(instance: ReceivedInstance) -> Registration:
        is_image = instance.sop_class_uid in IMAGE_CLASSES
        return store.table.register(instance, priorities[instance.source_ae], is_image)

    database = store.table.database
    commitment = CommitmentService(
        [peer.ae_title for peer in config.peer if peer.storage_commitment == "request"],
        [peer.ae_title for peer in config.peer] if config.listener.storage_commitment else (),
        lambda peer, report: apply_report(database, peer, report, peer, config.confirming_titles),
        partial(add_peer_request, database),
    )
    return StorageService(
        spool=store.spool,
        file_name_of=instance_file_name,
        register=register,
        stored=partial(received_instance, store.table.database),
        keep_copy=partial(add_copy, store.table.database),
        refuse=partial(add_refusal, store.table.database),
        room=lambda: store.spool.free_mb() >= config.spool.min_free_mb,
        events=events,
        max_nesting=config.listener.max_nesting,
        commitment=commitment,
        own_result=partial(own_result, store.table.database, store.spool),
    )


def retry_policy(retry: RetryConfig, attempts: int) -> RetryPolicy:
    """Attempts and delays of analysis or delivery."""
    return RetryPolicy(attempts, retry.initial_delay_s, retry.max_delay_s)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
