"""The examination: every look in order, the quick ones first, each line as soon as it is there."""

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

from sij_node.config.settings import Config, PeerConfig, load_config
from sij_node.doctor import check_results as judging
from sij_node.doctor import probes as probing
from sij_node.doctor.check_results import CheckResult, CheckTopic
from sij_node.doctor.study_round_trip import try_study
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
from sij_node.store.database import as_it_is, schema_of
from sij_node.store.peer_activity_table import PeerActivityTable

LoadNetworks = Callable[[Config, str], str]
"""Loads the networks of a set of weights, asks them their known case, and names them."""


def examine(config_file: Path, load_networks: LoadNetworks | None = None) -> Iterator[CheckResult]:
    """Look at everything that a configuration needs; each line comes as soon as it is known.

    Parameters
    ----------
    load_networks
        Without it the look is a quick one: networks are not loaded and no study is sent.
    """
    try:
        config = load_config(config_file)
    except ConfigurationInvalid as error:
        yield judging.failed(CheckTopic.CONFIGURATION, str(error), "Change it and ask again.")
        return
    looks: list[Callable[[], Iterable[CheckResult]]] = [
        partial(judging.configuration_lines, config),
        partial(_disk, config),
        partial(_database, config),
        partial(_certificates, config),
        partial(_door, config),
        partial(_page, config),
        partial(_peers, config),
        partial(_alarms, config),
        lambda: [judging.clock_line(probing.clock())],
        partial(_networks, config, load_networks),
    ]
    for look in looks:
        yield from look()
    if load_networks is not None:
        yield from _study(config)


def _disk(config: Config) -> Iterator[CheckResult]:
    folder = config.node.data_folder
    try:
        yield judging.disk_line(probing.free_mb(config), probing.sync_s(folder), config)
    except (NodeError, OSError) as error:
        advice = f"Let {folder} exist and belong to the user who runs the node."
        yield judging.failed(CheckTopic.DISK, f"{folder} cannot be written: {error}", advice)


def _database(config: Config) -> Iterator[CheckResult]:
    try:
        found = schema_of(config.database_url)
        yield judging.schema_line(found.place, found.current, found.newest, found.known)
    except (ConfigurationInvalid, DatabaseUnavailable) as error:
        advice = "Nothing is received while it does not answer; senders keep and repeat."
        yield judging.failed(CheckTopic.DATABASE, str(error), advice)


def _certificates(config: Config) -> Iterator[CheckResult]:
    now = datetime.now(UTC)
    for one in probing.certificate_files(config):
        try:
            for certificate in probing.certificates_in(one.file, one.is_chain):
                yield judging.certificate_line(one.where, certificate, now)
        except ConfigurationInvalid as error:
            yield judging.failed(CheckTopic.TLS, f"{one.where}: {error}", "Name a PEM file.")
    for section, tls in probing.own_certificates(config):
        try:
            server_context(tls, section)
        except ConfigurationInvalid as error:
            yield judging.failed(CheckTopic.TLS, str(error), "Key and certificate belong together.")


def _door(config: Config) -> Iterator[CheckResult]:
    listener = config.listener
    place = f"{listener.host}:{listener.port}"
    is_free = _is_free("[listener]", listener.host, listener.port)
    if isinstance(is_free, CheckResult):
        yield is_free
        return
    if is_free:
        yield judging.port_line("The listener", place, is_free=True, is_ours=False)
        return
    local = _who_may_call_from_here(config)
    calling = local.ae_title if local else config.peer[0].ae_title
    yield judging.door_line(
        place,
        probing.call_own_door(config, config.node.ae_title, calling),
        probing.call_own_door(config, probing.NOBODY, calling),
        local is not None,
    )


def _page(config: Config) -> Iterator[CheckResult]:
    web = config.web
    if not web.enabled:
        return
    is_free = _is_free("[web]", web.host, web.port)
    if isinstance(is_free, CheckResult):
        yield is_free
        return
    is_ours = not is_free and probing.is_our_page(config)
    yield judging.port_line("The page", f"{web.host}:{web.port}", is_free, is_ours)


def _is_free(section: str, host: str, port: int) -> bool | CheckResult:
    """Whether nobody listens there; or why the node cannot."""
    try:
        return probing.is_free(host, port)
    except OSError as error:
        advice = f"Set {section} host and port to ones that this machine and user have."
        words = f"Nobody can listen at {host}:{port}: {error.strerror}."
        return judging.failed(CheckTopic.NETWORK, words, advice)


def _alarms(config: Config) -> Iterator[CheckResult]:
    try:
        channels = channels_of(config)
    except ConfigurationInvalid as error:
        yield judging.failed(
            CheckTopic.CONFIGURATION, str(error), "The node does not start like this."
        )
        return
    for channel in channels:
        try:
            yield judging.alarm_line(channel.name, channel.reach(), "")
        except AlertNotSent as error:
            yield judging.alarm_line(channel.name, "", str(error))


def _who_may_call_from_here(config: Config) -> PeerConfig | None:
    try:
        here = ip_address(probing.reachable(config.listener.host))
    except ValueError:  # a host's name
        return None
    return next(
        (
            peer
            for peer in config.peer
            if any(here in ip_network(one, strict=False) for one in peer.networks)
        ),
        None,
    )


def _peers(config: Config) -> Iterator[CheckResult]:
    now, known = datetime.now(UTC), _contacts(config)
    for peer in config.peer:
        yield judging.outgoing_line(peer, probing.echo_error(config, peer))
        yield judging.incoming_line(peer, known.get(peer.ae_title), now)


def _contacts(config: Config) -> dict[str, PeerActivity]:
    """Who was heard of; nobody where there are no tables yet, which another line tells."""
    try:
        found = schema_of(config.database_url)
        if found.current != found.newest:
            return {}
        with as_it_is(config.database_url) as database:
            return {one.peer: one for one in PeerActivityTable(database).contacts()}
    except (ConfigurationInvalid, DatabaseUnavailable):
        return {}


def _networks(config: Config, load: LoadNetworks | None) -> Iterator[CheckResult]:
    if load is not None:
        cores = config.worker.threads or os.cpu_count() or 1
        yield judging.device_line(config.worker.device, probing.gpus(), cores)
    for name in ("", *(one.name for one in config.weights)):
        try:
            folder = config.networks_folder(name)
            found = load(config, name) if load else probing.weights_on_disk(folder)
            yield judging.weights_line(name, found, "")
        except WeightsRefused as error:
            yield judging.weights_line(name, "", str(error))


def _study(config: Config) -> Iterator[CheckResult]:
    yield judging.study_line(try_study(config, config.worker.analysis_timeout_s))
