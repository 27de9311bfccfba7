"""Checks of what this machine must have before the node can run; no other system is asked.

Disk, database, certificates, secrets, ports and weights. `check-config` reports the failures, `run`
does not start with one, and the doctor reports all results.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from sij_node.audit.trail import Syslog
from sij_node.config.exposure import exposed, secret_files
from sij_node.config.settings import Config, PeerConfig
from sij_node.doctor import assessments, measurements
from sij_node.doctor.measurements import own_certificates
from sij_node.domain.health import Component, Condition, HealthStatus, failed, warning
from sij_node.errors import (
    ConfigurationInvalid,
    DatabaseUnavailable,
    DestinationRefused,
    WeightsRefused,
    os_reason,
)
from sij_node.network.http_client import tls_context
from sij_node.network.tls import server_context
from sij_node.operate.alert_channels import channels_of
from sij_node.store.database import schema_of

LoadNetworks = Callable[[Config, str], str]
"""Loads the networks of a set of weights, runs a reference case, and returns their names."""


def local_checks(config: Config, config_file: Path) -> Iterator[Condition]:
    """Everything that must be in order on this machine before the node can run.

    Nothing is created: the folders must belong to the user who runs the node.
    """
    yield from exposures(config, config_file)
    yield from _folders(config)
    yield from database(config)
    yield from map(_only_a_warning_if_expired, certificates(config))
    yield from secrets(config)
    yield from listener(config)
    yield from web_server(config)
    yield from neural_networks(config, _without_reference_case)


def _without_reference_case(config: Config, name: str) -> str:
    return measurements.networks_in(config.networks_folder(name))


def _only_a_warning_if_expired(condition: Condition) -> Condition:
    """The node starts with an expired certificate: peers without TLS can still send."""
    is_date = condition.status is HealthStatus.FAILED and condition.action in assessments.DATED
    return replace(condition, status=HealthStatus.WARNING) if is_date else condition


def exposures(config: Config, config_file: Path) -> Iterator[Condition]:
    """What other users of the machine could read."""
    for problem in exposed(config, config_file):
        message, _, action = problem.partition(". ")
        yield warning(Component.CONFIGURATION, f"{message}.", action)


def _folders(config: Config) -> Iterator[Condition]:
    data = config.node.data_folder
    for folder in (data, data / "spool", data / "audit"):
        reason = measurements.not_writable(folder)
        if reason:
            action = f"Create {folder} and make it writable for the user who runs the node."
            yield failed(Component.DISK, f"[node] data_folder: {reason}.", action)
            return


def database(config: Config) -> Iterator[Condition]:
    """Whether the database responds and has a schema that this version can use."""
    try:
        found = schema_of(config.database_url)
        yield assessments.assess_schema(found.place, found.current, found.newest, found.known)
    except ConfigurationInvalid as error:
        yield failed(Component.CONFIGURATION, str(error), "")
    except DatabaseUnavailable as error:
        action = "Nothing is received until it responds; senders keep their studies and retry."
        yield failed(Component.DATABASE, str(error), action)


def certificates(config: Config) -> Iterator[Condition]:
    """Whether all certificates are readable, valid today, and match their keys."""
    now = datetime.now(UTC)
    all_readable = True
    for one in measurements.certificate_files(config):
        try:
            for certificate in measurements.certificates_in(one.file, one.is_chain):
                yield assessments.assess_certificate(one.where, certificate, now)
        except ConfigurationInvalid as error:
            all_readable = False
            yield failed(Component.TLS, f"{one.where}: {error}", "Configure a PEM file.")
    if config.listener.tls is not None and config.listener.tls.crl is not None:
        yield _revocations(config.listener.tls.crl, now)
    if all_readable:
        yield from _unusable_keys(config)


def _unusable_keys(config: Config) -> Iterator[Condition]:
    """Private keys that do not belong to their certificates, and files that TLS cannot use."""
    contexts = [partial(server_context, tls, where) for where, tls in own_certificates(config)]
    contexts += [partial(tls_context, one) for one in config.destination]
    for context in contexts:
        try:
            context()
        except (ConfigurationInvalid, DestinationRefused) as error:
            yield failed(Component.TLS, str(error), "Correct these files.")


def _revocations(file: Path, now: datetime) -> Condition:
    try:
        return assessments.assess_revocations(file, measurements.next_revocations(file), now)
    except ConfigurationInvalid as error:
        return failed(Component.TLS, f"[listener.tls] crl: {error}", "Configure a PEM file.")


def secrets(config: Config) -> Iterator[Condition]:
    """Whether files with passwords, tokens and keys can be read, and audit and alerts be opened."""
    unusable = tuple(_unusable_secrets(config))
    yield from unusable
    if unusable:
        return
    for opened in (channels_of, _syslog):
        try:
            opened(config)
        except ConfigurationInvalid as error:
            action = "The node does not start until this is corrected."
            yield failed(Component.CONFIGURATION, str(error), action)


def _syslog(config: Config) -> None:
    if config.audit.syslog:
        Syslog(config.audit)


def _unusable_secrets(config: Config) -> Iterator[Condition]:
    for name, file in secret_files(config):
        try:
            if not file.read_bytes().strip():
                yield _unusable_secret(name, f"{file} is empty")
        except OSError as error:
            yield _unusable_secret(name, f"{file} {os_reason(error)}")


def _unusable_secret(name: str, reason: str) -> Condition:
    action = "Write the secret into it, readable for the user who runs the node."
    return failed(Component.CONFIGURATION, f"{name}: {reason}.", action)


def listener(config: Config) -> Iterator[Condition]:
    """Whether the listener responds at its port, or could listen there."""
    place = f"{config.listener.host}:{config.listener.port}"
    is_free = _is_free("[listener]", config.listener.host, config.listener.port)
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


def web_server(config: Config) -> Iterator[Condition]:
    """Whether the web server responds at its port, or could listen there."""
    web = config.web
    if not web.enabled:
        return
    place = f"{web.host}:{web.port}"
    if web.port == config.listener.port:
        action = "Set [web] port to another one."
        yield failed(
            Component.NETWORK, f"Listener and web server both use port {web.port}.", action
        )
        return
    is_free = _is_free("[web]", web.host, web.port)
    if isinstance(is_free, Condition):
        yield is_free
        return
    is_ours = not is_free and measurements.is_our_web_server(config)
    yield assessments.assess_port("Web server", place, is_free, is_ours)


def _is_free(section: str, host: str, port: int) -> bool | Condition:
    """Whether a port is free; a failure if the node cannot listen there at all."""
    try:
        return measurements.is_free(host, port)
    except OSError as error:
        action = f"Set {section} host and port to ones that this machine and user may use."
        message = f"Cannot listen at {host}:{port}: it {os_reason(error)}."
        return failed(Component.NETWORK, message, action)


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


def neural_networks(config: Config, load: LoadNetworks | None) -> Iterator[Condition]:
    """Whether the device is available and all weights can be used.

    Parameters
    ----------
    load
        If None, the weights are only compared with the digest on their card.
    """
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
