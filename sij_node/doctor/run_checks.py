"""Runs all checks of the doctor, quick ones first, and yields each result at once."""

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from sij_node.config.exposure import exposed
from sij_node.config.settings import Config, PeerConfig, load_config
from sij_node.doctor import assessments, measurements
from sij_node.doctor.study_round_trip import send_test_study
from sij_node.domain.health import Component, Condition, failed, warning
from sij_node.domain.peer_activity import PeerActivity
from sij_node.errors import (
    AlertNotSent,
    ConfigurationInvalid,
    DatabaseUnavailable,
    NodeError,
    WeightsRefused,
)
from sij_node.network.tls import server_context
from sij_node.operate.alert_channels import channels_of
from sij_node.store.database import open_unmigrated, schema_of
from sij_node.store.peer_activity_table import PeerActivityTable

LoadNetworks = Callable[[Config, str], str]
"""Loads the networks of a set of weights, runs a reference case, and returns their names."""


def run_checks(config_file: Path, load_networks: LoadNetworks | None = None) -> Iterator[Condition]:
    """Check everything the node depends on.

    Parameters
    ----------
    load_networks
        If None, only quick checks are run: networks are not loaded and no test study is sent.
    """
    try:
        config = load_config(config_file)
    except ConfigurationInvalid as error:
        yield failed(Component.CONFIGURATION, str(error), "Correct it and check again.")
        return
    checks: list[Callable[[], Iterable[Condition]]] = [
        partial(assessments.assess_configuration, config),
        partial(_exposed, config, config_file),
        partial(_disk, config),
        partial(_database, config),
        partial(_certificates, config),
        partial(_listener, config),
        partial(_web_server, config),
        partial(_peers, config),
        partial(_alert_channels, config),
        lambda: [assessments.assess_clock(measurements.clock())],
        partial(_neural_networks, config, load_networks),
    ]
    for check in checks:
        yield from check()
    if load_networks is not None:
        trip = send_test_study(config, config.worker.analysis_timeout_s)
        yield assessments.assess_round_trip(trip)


def _exposed(config: Config, config_file: Path) -> Iterator[Condition]:
    for problem in exposed(config, config_file):
        message, _, action = problem.partition(". ")
        yield warning(Component.CONFIGURATION, f"{message}.", action)


def _disk(config: Config) -> Iterator[Condition]:
    folder = config.node.data_folder
    try:
        free_mb, sync_s = measurements.free_mb(config), measurements.sync_s(folder)
        yield assessments.assess_disk(free_mb, sync_s, config)
    except (NodeError, OSError) as error:
        action = f"Create {folder} and make it writable for the user who runs the node."
        yield failed(Component.DISK, f"{folder} is not writable: {error}", action)


def _database(config: Config) -> Iterator[Condition]:
    try:
        found = schema_of(config.database_url)
        yield assessments.assess_schema(found.place, found.current, found.newest, found.known)
    except (ConfigurationInvalid, DatabaseUnavailable) as error:
        action = "Nothing is received until it responds; senders keep their studies and retry."
        yield failed(Component.DATABASE, str(error), action)


def _certificates(config: Config) -> Iterator[Condition]:
    now = datetime.now(UTC)
    for one in measurements.certificate_files(config):
        try:
            for certificate in measurements.certificates_in(one.file, one.is_chain):
                yield assessments.assess_certificate(one.where, certificate, now)
        except ConfigurationInvalid as error:
            yield failed(Component.TLS, f"{one.where}: {error}", "Configure a PEM file.")
    if config.listener.tls is not None and config.listener.tls.crl is not None:
        yield _revocations(config.listener.tls.crl, now)
    for section, tls in measurements.own_certificates(config):
        try:
            server_context(tls, section)
        except ConfigurationInvalid as error:
            yield failed(Component.TLS, str(error), "Use the private key of this certificate.")


def _revocations(file: Path, now: datetime) -> Condition:
    try:
        return assessments.assess_revocations(file, measurements.next_revocations(file), now)
    except ConfigurationInvalid as error:
        return failed(Component.TLS, f"[listener.tls] crl: {error}", "Configure a PEM file.")


def _listener(config: Config) -> Iterator[Condition]:
    listener = config.listener
    place = f"{listener.host}:{listener.port}"
    is_free = _is_free("[listener]", listener.host, listener.port)
    if isinstance(is_free, Condition):
        yield is_free
        return
    if is_free:
        yield assessments.assess_port("Listener", place, is_free=True, is_ours=False)
        return
    local = _peer_on_this_machine(config)
    calling = local.ae_title if local else config.peer[0].ae_title
    yield assessments.assess_listener(
        place,
        measurements.echo_own_listener(config, config.node.ae_title, calling),
        measurements.echo_own_listener(config, measurements.UNKNOWN_TITLE, calling),
        local is not None,
    )


def _web_server(config: Config) -> Iterator[Condition]:
    web = config.web
    if not web.enabled:
        return
    is_free = _is_free("[web]", web.host, web.port)
    if isinstance(is_free, Condition):
        yield is_free
        return
    is_ours = not is_free and measurements.is_our_web_server(config)
    yield assessments.assess_port("Web server", f"{web.host}:{web.port}", is_free, is_ours)


def _is_free(section: str, host: str, port: int) -> bool | Condition:
    """Whether a port is free; a failure if the node cannot listen there at all."""
    try:
        return measurements.is_free(host, port)
    except OSError as error:
        action = f"Set {section} host and port to ones that this machine and user may use."
        message = f"Cannot listen at {host}:{port}: {error.strerror}."
        return failed(Component.NETWORK, message, action)


def _alert_channels(config: Config) -> Iterator[Condition]:
    try:
        channels = channels_of(config)
    except ConfigurationInvalid as error:
        action = "The node does not start until this is corrected."
        yield failed(Component.CONFIGURATION, str(error), action)
        return
    for channel in channels:
        try:
            yield assessments.assess_alert_channel(channel.name, channel.reach(), "")
        except AlertNotSent as error:
            yield assessments.assess_alert_channel(channel.name, "", str(error))


def _peer_on_this_machine(config: Config) -> PeerConfig | None:
    """A peer that may connect from this machine's own address."""
    try:
        here = ip_address(measurements.reachable(config.listener.host))
    except ValueError:  # a host name
        return None
    return next(
        (
            peer
            for peer in config.peer
            if any(here in ip_network(one, strict=False) for one in peer.networks)
        ),
        None,
    )


def _peers(config: Config) -> Iterator[Condition]:
    now, activity = datetime.now(UTC), _peer_activity(config)
    for peer in config.peer:
        yield assessments.assess_outgoing(peer, measurements.connection_error(config, peer))
        yield assessments.assess_incoming(peer, activity.get(peer.ae_title), now)
        if peer.storage_commitment == "request":
            error = measurements.commitment_error(config, peer)
            yield assessments.assess_commitment(peer, error)
    for one in config.destination:
        yield assessments.assess_outgoing(one, measurements.connection_error(config, one))


def _peer_activity(config: Config) -> dict[str, PeerActivity]:
    """Recorded activity of each peer; empty while the database needs a migration or is down."""
    try:
        found = schema_of(config.database_url)
        if found.current != found.newest:
            return {}
        with open_unmigrated(config.database_url) as database:
            return {one.peer: one for one in PeerActivityTable(database).contacts()}
    except (ConfigurationInvalid, DatabaseUnavailable):
        return {}


def _neural_networks(config: Config, load: LoadNetworks | None) -> Iterator[Condition]:
    if load is not None:
        cores = config.worker.threads or os.cpu_count() or 1
        yield assessments.assess_device(config.worker.device, measurements.gpus(), cores)
    for name in ("", *(one.name for one in config.weights)):
        try:
            folder = config.networks_folder(name)
            networks = load(config, name) if load else measurements.weights_on_disk(folder)
            yield assessments.assess_weights(name, networks, "")
        except WeightsRefused as error:
            yield assessments.assess_weights(name, "", str(error))
