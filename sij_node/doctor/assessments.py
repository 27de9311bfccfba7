"""Assesses each measurement of the doctor as ok, warning or failed, with the recommended action.

Pure decisions; `sij_node.doctor.measurements` takes the measurements.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from sij_node.config.settings import AnyDestination, Config, PeerConfig
from sij_node.domain.health import Component, Condition, HealthStatus, failed, ok, warning
from sij_node.domain.peer_activity import PeerActivity
from sij_node.domain.time_spans import in_words

EXIT_CODES: Mapping[Component, int] = MappingProxyType(
    {
        Component.CONFIGURATION: 10,
        Component.DISK: 11,
        Component.DATABASE: 12,
        Component.TLS: 13,
        Component.NETWORK: 14,
        Component.NEURAL_NETWORKS: 15,
        Component.CLOCK: 16,
        Component.STUDY: 17,
    }
)
"""Exit status if this component failed, in the order in which problems should be solved."""


def exit_code(conditions: Iterable[Condition]) -> int:
    """Exit status for scripts: the lowest of the failed components, 1 for warnings only, else 0."""
    conditions = tuple(conditions)
    codes = [EXIT_CODES[one.component] for one in conditions if one.status is HealthStatus.FAILED]
    if codes:
        return min(codes)
    return int(any(one.status is HealthStatus.WARNING for one in conditions))


# ---- configuration -----------------------------------------------------------------------------


def assess_configuration(config: Config) -> Iterable[Condition]:
    """Settings that are valid, but probably wrong in combination."""
    peers = len(config.peer)
    yield ok(
        Component.CONFIGURATION,
        f"{config.node.ae_title} with {peers} {'peer' if peers == 1 else 'peers'}.",
    )
    cut_off = [peer.ae_title for peer in config.peer if not _can_reach(config.listener.host, peer)]
    if cut_off:
        yield warning(
            Component.CONFIGURATION,
            f"The listener is bound to {config.listener.host}, which {', '.join(cut_off)} "
            "cannot reach from the configured networks.",
            'Set [listener] host to an address of this machine, or to "0.0.0.0".',
        )
    for title in sorted(config.shadow_titles):
        yield warning(
            Component.CONFIGURATION,
            f"{title} is in shadow mode: its studies are analysed, but no results are sent.",
            "To send its results, set shadow = false for this [[peer]].",
        )


def _can_reach(host: str, peer: PeerConfig) -> bool:
    """Whether any network of a peer can reach the listener's address."""
    try:
        if not ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:  # a host name, resolved when the node starts
        return True
    networks = (ipaddress.ip_network(one, strict=False) for one in peer.networks)
    return any(one.is_loopback for one in networks)


# ---- disk and database -------------------------------------------------------------------------

SLOW_SYNC_S = 0.05


def assess_disk(free_mb: float, sync_s: float, config: Config) -> Condition:
    """Whether the spool's disk has enough free space and is fast enough."""
    message = f"{free_mb / 1000:.1f} GB free; fsync takes {sync_s * 1000:.1f} ms."
    free_space = "Free disk space, or shorten [spool] retention_days."
    if free_mb < config.spool.min_free_mb:
        return failed(Component.DISK, f"{message} Associations are rejected.", free_space)
    if free_mb < config.health.low_disk_mb:
        return warning(Component.DISK, message, free_space)
    if sync_s > SLOW_SYNC_S:
        action = "Each image is synced to disk: move data_folder to a faster local disk."
        return warning(Component.DISK, message, action)
    return ok(Component.DISK, message)


def assess_schema(place: str, current: str | None, newest: str, known: Sequence[str]) -> Condition:
    """Whether the database has the schema of this version."""
    if current == newest:
        return ok(Component.DATABASE, f"{place} responds, schema {newest}.")
    if current is None:
        return ok(
            Component.DATABASE, f"{place} is empty; tables are created when the node first starts."
        )
    if current in known:
        return warning(
            Component.DATABASE,
            f"{place} has schema {current}; this version needs {newest}.",
            "Back it up, then run `sij-node migrate`. Starting the node migrates it as well.",
        )
    return failed(
        Component.DATABASE,
        f"{place} has schema {current}, which is newer than {newest} of this version.",
        "Reinstall the newer version, or restore the backup from before the upgrade.",
    )


# ---- TLS ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """Subject and validity of a certificate.

    Parameters
    ----------
    issued_by_next
        Whether the next certificate in the file has signed it; None for the last.
    """

    subject: str
    not_before: datetime
    not_after: datetime
    issued_by_next: bool | None = None


EXPIRES_SOON = timedelta(days=30)
_RENEW = "Renew the certificate."
_WAIT = "Check this machine's clock, or wait."
_FETCH = "Fetch the current list from the CA."
DATED = frozenset({_RENEW, _WAIT, _FETCH})
"""Actions for files that are sound but out of date."""


def assess_certificate(where: str, certificate: Certificate, now: datetime) -> Condition:
    """Whether a certificate is valid, correctly chained, and not about to expire."""
    message = f"{where}: {certificate.subject}, valid until {certificate.not_after:%Y-%m-%d}."
    if now >= certificate.not_after:
        return failed(Component.TLS, f"{message} It has expired.", _RENEW)
    if now < certificate.not_before:
        return failed(Component.TLS, f"{message} It is not valid yet.", _WAIT)
    if certificate.issued_by_next is False:
        action = "The file must contain the node's certificate first, then each issuer in order."
        message += " It was not signed by the next certificate in the file."
        return failed(Component.TLS, message, action)
    left = certificate.not_after - now
    if left < EXPIRES_SOON:
        message += f" It expires in {in_words(left.total_seconds())}."
        return warning(Component.TLS, message, _RENEW)
    return ok(Component.TLS, message)


def assess_revocations(file: Path, due: datetime | None, now: datetime) -> Condition:
    """Whether a revocation list is up to date; `due` is when the next one is to be expected."""
    message = f"[listener.tls] crl: {file.name}"
    if due is not None and now >= due:
        return failed(
            Component.TLS,
            f"{message} has been out of date since {due:%Y-%m-%d}; all peers are refused.",
            _FETCH,
        )
    return ok(Component.TLS, f"{message}, next one due {due:%Y-%m-%d}." if due else f"{message}.")


# ---- network -----------------------------------------------------------------------------------


class EchoOutcome(StrEnum):
    """How the listener answered an association request."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NO_RESPONSE = "no response"


def assess_port(service: str, place: str, is_free: bool, is_ours: bool) -> Condition:
    """Whether a service of the node listens at its port, or could."""
    if is_ours:
        return ok(Component.NETWORK, f"{service} responds at {place}.")
    if is_free:
        return ok(Component.NETWORK, f"{service} is not running; {place} is available.")
    return failed(
        Component.NETWORK,
        f"{service} is not running; {place} is in use by another program.",
        "Stop that program, or configure another port.",
    )


def assess_alert_channel(channel: str, place: str, error: str) -> Condition:
    """Whether a channel for alerts can be reached; `error` is empty if it can."""
    if not error:
        return ok(Component.NETWORK, f"Alerts by {channel}: {place} responds.")
    action = "No alerts are sent by this channel. Fix this, then run `sij-node test-alerts`."
    return warning(Component.NETWORK, f"Alerts by {channel}: {error}", action)


def assess_listener(
    place: str, own_title: EchoOutcome, wrong_title: EchoOutcome, may_connect: bool
) -> Condition:
    """Whether the listener accepts its own AE title and rejects others.

    Parameters
    ----------
    own_title, wrong_title
        How it answered association requests with its own AE title and with an unknown one.
    may_connect
        Whether a configured peer may connect from this machine.
    """
    if wrong_title is EchoOutcome.ACCEPTED:
        return failed(
            Component.NETWORK,
            f"{place} accepts associations for an AE title that is not its own.",
            "This is not the node; check which program uses the port.",
        )
    if own_title is EchoOutcome.ACCEPTED:
        return ok(Component.NETWORK, f"{place} accepts its own AE title and rejects others.")
    if own_title is EchoOutcome.REJECTED and not may_connect:
        message = f"{place} rejects this machine, as configured: no peer may connect from here."
        return ok(Component.NETWORK, message)
    return failed(
        Component.NETWORK,
        f"{place} does not accept associations for its own AE title.",
        "If config.toml was changed, restart the listener.",
    )


def assess_outgoing(to: AnyDestination, error: str) -> Condition:
    """Whether a peer responds to our C-ECHO, or a destination at its URL; if so, no `error`."""
    if not error:
        if isinstance(to, PeerConfig):
            words = f"{to.ae_title} at {to.host}:{to.port} responds to C-ECHO."
        else:
            words = f"{to.name} at {to.url} responds."
        return ok(Component.NETWORK, words)
    if to.shadow:
        return warning(Component.NETWORK, error, "Required once shadow mode ends.")
    return failed(Component.NETWORK, error, "Results are kept until it responds.")


def assess_commitment(peer: PeerConfig, error: str) -> Condition:
    """Whether a peer supports storage commitment; `error` is empty if it does."""
    if not error:
        return ok(Component.NETWORK, f"{peer.ae_title} supports storage commitment.")
    return warning(
        Component.NETWORK,
        f"Storage commitment: {error}",
        "Enable it there for this node's AE title, or set storage_commitment to find or off. "
        "Until then it is asked by C-FIND.",
    )


def assess_incoming(peer: PeerConfig, activity: PeerActivity | None, now: datetime) -> Condition:
    """Whether a peer has ever connected, and whether it was accepted the last time."""
    title = peer.ae_title
    accepted_at = activity.accepted_at if activity else None
    if activity and activity.refused_at and activity.refused_at > (accepted_at or _NEVER):
        return warning(
            Component.NETWORK,
            f"The last association from {title} was rejected: {activity.refused_because}",
            f"Compare its AE title and address with [[peer]] {title}.",
        )
    if accepted_at is None:
        return warning(
            Component.NETWORK,
            f"{title} has never connected.",
            "Send a C-ECHO from it to this node, then run `sij-node rejected`.",
        )
    ago = in_words((now - accepted_at).total_seconds())
    return ok(Component.NETWORK, f"{title} last connected {ago} ago.")


_NEVER = datetime.min.replace(tzinfo=UTC)


# ---- neural networks ---------------------------------------------------------------------------


def assess_device(configured: str, gpus: Sequence[str], cores: int) -> Condition:
    """Where the networks run, and whether the configured device is available."""
    if configured != "cpu" and gpus:
        return ok(Component.NEURAL_NETWORKS, f"Running on {gpus[0]}.")
    if configured == "cuda":
        message = '[worker] device is "cuda", but CUDA finds no GPU.'
        action = "Install the driver and a CUDA build of PyTorch, or change [worker] device."
        return failed(Component.NEURAL_NETWORKS, message, action)
    return ok(
        Component.NEURAL_NETWORKS, f"Running on {cores} CPU {'core' if cores == 1 else 'cores'}."
    )


def assess_weights(name: str, networks: str, error: str) -> Condition:
    """Whether weights are complete and usable; `error` is empty if they are."""
    where = f"[[weights]] {name}" if name else "[worker] weights"
    if error:
        action = "Copy the weights folder again, with both files of each network."
        return failed(Component.NEURAL_NETWORKS, f"{where}: {error}", action)
    return ok(Component.NEURAL_NETWORKS, f"{where}: {networks}.")


# ---- clock -------------------------------------------------------------------------------------

MAX_JUMP_S = 0.1


@dataclass(frozen=True)
class ClockState:
    """The state of the system clock.

    Parameters
    ----------
    is_synchronised
        As reported by the kernel; None if it does not report it.
    error_s
        Maximum error, as reported by the kernel.
    jump_s
        How far it moved relative to the monotonic clock during the check.
    zone
        Name of the time zone, with its offset.
    """

    is_synchronised: bool | None
    error_s: float
    jump_s: float
    zone: str


def assess_clock(clock: ClockState) -> Condition:
    """Whether the times in results and histories can be trusted."""
    if abs(clock.jump_s) > MAX_JUMP_S:
        return warning(
            Component.CLOCK,
            f"System clock jumped by {clock.jump_s:+.2f} s during the check.",
            "The node's own timing is not affected, but times in results are. "
            "Check what adjusts the clock.",
        )
    if clock.is_synchronised is False:
        return warning(
            Component.CLOCK,
            f"System clock is not synchronised (time zone {clock.zone}).",
            "Install chrony or systemd-timesyncd; for a container, on the host.",
        )
    if clock.is_synchronised is None:
        return ok(Component.CLOCK, f"Synchronisation unknown, time zone {clock.zone}.")
    return ok(
        Component.CLOCK,
        f"System clock is synchronised within {clock.error_s:.3f} s, time zone {clock.zone}.",
    )


# ---- test study --------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoundTrip:
    """How the test study went.

    Parameters
    ----------
    problem
        Why its results did not come back; empty if they did.
    results
        Number of instances that came back.
    """

    problem: str
    results: int = 0
    seconds: float = 0.0


def assess_round_trip(trip: RoundTrip) -> Condition:
    """Whether a study passes from a sender through the node to a destination."""
    if trip.problem:
        return failed(
            Component.STUDY, trip.problem, "Solve the failures above first, then check again."
        )
    return ok(
        Component.STUDY,
        f"A phantom study was received and analysed; {trip.results} results came back "
        f"in {trip.seconds:.0f} s.",
    )
