"""Runs all checks of the doctor, quick ones first, and yields each result at once."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sij_node.config.settings import Config, load_config
from sij_node.doctor import assessments, local_checks, measurements
from sij_node.doctor.local_checks import LoadNetworks
from sij_node.doctor.study_round_trip import send_test_study
from sij_node.domain.health import Component, Condition, failed
from sij_node.domain.peer_activity import PeerActivity
from sij_node.errors import (
    AlertNotSent,
    ConfigurationInvalid,
    DatabaseUnavailable,
    NodeError,
)
from sij_node.operate.alert_channels import channels_of
from sij_node.store.database import open_unmigrated, schema_of
from sij_node.store.peer_activity_table import PeerActivityTable


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
        partial(local_checks.exposures, config, config_file),
        partial(_disk, config),
        partial(local_checks.database, config),
        partial(local_checks.certificates, config),
        partial(local_checks.secrets, config),
        partial(local_checks.listener, config),
        partial(local_checks.web_server, config),
        partial(_peers, config),
        partial(_alert_channels, config),
        lambda: [assessments.assess_clock(measurements.clock())],
        partial(local_checks.neural_networks, config, load_networks),
    ]
    for check in checks:
        yield from check()
    if load_networks is not None:
        trip = send_test_study(config, config.worker.analysis_timeout_s)
        yield assessments.assess_round_trip(trip)


def _disk(config: Config) -> Iterator[Condition]:
    folder = config.node.data_folder
    try:
        free_mb, sync_s = measurements.free_mb(config), measurements.sync_s(folder)
        yield assessments.assess_disk(free_mb, sync_s, config)
    except (NodeError, OSError) as error:
        action = f"Create {folder} and make it writable for the user who runs the node."
        yield failed(Component.DISK, f"{folder} is not writable: {error}", action)


def _alert_channels(config: Config) -> Iterator[Condition]:
    try:
        channels = channels_of(config)
    except ConfigurationInvalid:
        return  # reported with the secrets
    for channel in channels:
        try:
            yield assessments.assess_alert_channel(channel.name, channel.reach(), "")
        except AlertNotSent as error:
            yield assessments.assess_alert_channel(channel.name, "", str(error))


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
