"""The worker process: analyses queued studies and delivers their results.

The networks run in a child process, so that a crash of CUDA or of an analysis ends neither the
worker nor a delivery.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection

import structlog

from sij_node.analyse.analysis_process import AnalysisProcess
from sij_node.analyse.analysis_worker import AnalysisWorker
from sij_node.audit.peer_events import PeerEvents
from sij_node.config.routing import recipients_of
from sij_node.config.settings import Config
from sij_node.deliver.delivery_worker import DeliveryWorker
from sij_node.deliver.senders import senders
from sij_node.domain.health import ProcessRole
from sij_node.processes.assembly import Store, audited, open_store, prior_search, retry_policy
from sij_node.store.peer_activity_table import PeerActivityLog
from sij_node.store.process_table import heartbeats, this_process

log = structlog.get_logger()


def run(config: Config, stop: threading.Event) -> None:
    """Analyse and deliver until `stop` is set; then finish the current job.

    Raises
    ------
    WeightsRefused
        If the networks cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    # Idle threads of the networks must not spin while the listener needs the processor.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's matrix products are too small to gain from several threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    me = this_process(ProcessRole.WORKER)
    with (
        open_store(config) as store,
        audited(config, ProcessRole.WORKER) as trail,
        ThreadPoolExecutor(1, "delivery") as threads,
    ):
        activity = PeerActivityLog(store.contacts)
        events = PeerEvents(activity, trail, store.patient_of)
        worker = _analysis_worker(config, store, me.name, stop, events)
        delivering = threads.submit(_delivery_worker(config, store, me.name, stop, events).run)
        delivering.add_done_callback(lambda _: stop.set())
        with heartbeats(store.processes, lambda: worker.status_of(me), activity.write):
            try:
                worker.run()
            finally:
                stop.set()
            delivering.result()  # an error of the delivery ends this process
    log.info("worker stopped", worker=me.name)


def analyse_in_child(pipe: Connection, config: Config) -> None:
    """Run the analysis process, the only process that loads torch."""
    import_module("sij_node.analyse.inference").serve(pipe, config)


def _analysis_worker(
    config: Config, store: Store, name: str, stop: threading.Event, events: PeerEvents
) -> AnalysisWorker:
    return AnalysisWorker(
        name,
        store.table,
        AnalysisProcess(analyse_in_child, (config,), config.worker.analysis_timeout_s),
        retry_policy(config.retry, config.retry.analysis_attempts),
        config.worker.lease_s,
        stop,
        partial(recipients_of, config),
        prior_search(config, store, events).priors_for,
    )


def _delivery_worker(
    config: Config, store: Store, name: str, stop: threading.Event, events: PeerEvents
) -> DeliveryWorker:
    return DeliveryWorker(
        name,
        store.table,
        store.spool,
        senders(config).send,
        config.destination_titled,
        config.profile_for,
        retry_policy(config.retry, config.retry.delivery_attempts),
        config.worker.lease_s,
        stop,
        events,
        config.shadow_titles,
    )
