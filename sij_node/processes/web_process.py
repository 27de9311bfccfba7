"""The web process: pages, API and metrics."""

import threading
from functools import partial

from sij_node.audit.peer_events import PeerEvents
from sij_node.audit.trail import AuditTrail
from sij_node.config.settings import Config
from sij_node.domain.health import ProcessRole
from sij_node.operate.metrics import Metrics
from sij_node.processes.assembly import (
    Store,
    admin_for,
    audited,
    authentication_for,
    now,
    open_store,
    storage_service,
)
from sij_node.receive.stow_rs import StowReception
from sij_node.store.peer_activity_table import PeerActivityLog
from sij_node.store.process_table import heartbeats, this_process
from sij_node.store.secret_key import secret_key
from sij_node.web.app import create_app, serve
from sij_node.web.dependencies import Parts
from sij_node.web.metrics_routes import metrics_router
from sij_node.web.stow_routes import stow_router


def run(config: Config, stop: threading.Event) -> None:
    """Serve pages and API until `stop` is set.

    Print the invitation link of the administrator as long as no administrator can sign in.

    Raises
    ------
    ConfigurationInvalid
        If the port is in use or the certificate cannot be used.
    DatabaseUnavailable, SpoolUnavailable
    """
    with open_store(config) as store, audited(config, ProcessRole.WEB) as trail:
        activity = PeerActivityLog(store.contacts)
        parts = web_parts(config, store, trail, activity)
        me = this_process(ProcessRole.WEB)
        with heartbeats(store.processes, lambda: me, activity.write):
            serve(create_app(parts), config.web, stop, partial(_invite_administrator, parts))


def _invite_administrator(parts: Parts) -> None:
    secret = parts.access.first_invitation()
    if secret is not None:
        link = parts.config.web.invitation_url(secret)
        print(f"Set the administrator's password within 24 hours: {link}", flush=True)  # noqa: T201


def web_parts(config: Config, store: Store, trail: AuditTrail, activity: PeerActivityLog) -> Parts:
    """The parts of the web application.

    Parameters
    ----------
    activity
        Notes what peers store by STOW-RS.
    """
    peers = [peer.ae_title for peer in config.peer]
    events = PeerEvents(
        activity, trail, store.patient_of, peers, config.audit.accepted_associations
    )
    service = storage_service(config, store, events)
    reception = StowReception(service, config.listener.max_instance_mb)
    metrics = Metrics(config, store.table, store.contacts, store.spool)
    return Parts(
        config=config,
        admin=admin_for(config, store, trail),
        access=authentication_for(config, store, trail),
        clock=now,
        key=secret_key(config.node.data_folder),
        routers=(
            metrics_router(metrics.text, config.metrics),
            stow_router(config, reception),
        ),
    )
