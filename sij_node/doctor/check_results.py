"""What the doctor makes of what was found: each line ok, a warning or failed, with what to do.

Everything here is a decision; what was found comes from `sij_node.doctor.probes`.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sij_node.config.settings import Config, PeerConfig
from sij_node.domain.health import HealthStatus, in_words
from sij_node.domain.peer_activity import PeerActivity


class CheckTopic(StrEnum):
    """What a line is about, in the order in which things are to be put right."""

    CONFIGURATION = "configuration"
    DISK = "disk"
    DATABASE = "database"
    TLS = "tls"
    NETWORK = "network"
    NETWORKS = "neural networks"
    CLOCK = "clock"
    STUDY = "study"


EXIT_CODES = {part: number for number, part in enumerate(CheckTopic, 10)}
"""Exit status when this is the first part that failed; 0 all is well, 1 warnings only."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at.

    Parameters
    ----------
    advice
        What to do; empty where all is well.
    """

    part: CheckTopic
    verdict: HealthStatus
    words: str
    advice: str = ""


def exit_code(lines: Iterable[CheckResult]) -> int:
    """Exit status for scripts: that of the first part that failed, 1 for warnings, else 0."""
    lines = tuple(lines)
    failed = [EXIT_CODES[one.part] for one in lines if one.verdict is HealthStatus.FAILED]
    if failed:
        return min(failed)
    return int(any(one.verdict is HealthStatus.WARNING for one in lines))


def _ok(part: CheckTopic, words: str) -> CheckResult:
    return CheckResult(part, HealthStatus.OK, words)


def _warning(part: CheckTopic, words: str, advice: str) -> CheckResult:
    return CheckResult(part, HealthStatus.WARNING, words, advice)


def failed(part: CheckTopic, words: str, advice: str) -> CheckResult:
    """A line about something that does not work."""
    return CheckResult(part, HealthStatus.FAILED, words, advice)


# ---- configuration -----------------------------------------------------------------------------


def configuration_lines(config: Config) -> Iterable[CheckResult]:
    """Settings that are allowed and yet look wrong together."""
    yield _ok(CheckTopic.CONFIGURATION, f"{config.node.ae_title} with {len(config.peer)} peer(s).")
    unheard = [peer.ae_title for peer in config.peer if not _can_reach(config.listener.host, peer)]
    if unheard:
        yield _warning(
            CheckTopic.CONFIGURATION,
            f"The listener is bound to {config.listener.host}, which {', '.join(unheard)} "
            "cannot reach from the networks that are configured.",
            'Set [listener] host to an address of this machine, or to "0.0.0.0".',
        )
    for title in sorted(config.shadow_titles):
        yield _warning(
            CheckTopic.CONFIGURATION,
            f"{title} is in shadow mode: its studies are analysed, nothing is sent.",
            "Set shadow = false for this [[peer]] when its results are wanted.",
        )


def _can_reach(host: str, peer: PeerConfig) -> bool:
    """Whether a peer may call from an address that reaches the listener's own."""
    try:
        if not ipaddress.ip_address(host).is_loopback:
            return True
    except ValueError:  # a name: it is resolved when the node starts
        return True
    networks = (ipaddress.ip_network(one, strict=False) for one in peer.networks)
    return any(one.is_loopback for one in networks)


# ---- disk and database -------------------------------------------------------------------------

SLOW_SYNC_S = 0.05


def disk_line(free_mb: float, sync_s: float, config: Config) -> CheckResult:
    """What is free on the disk of the spool, and how long it takes to have something written."""
    words = f"{free_mb / 1000:.1f} GB free; a sync takes {sync_s * 1000:.1f} ms."
    if free_mb < config.spool.min_free_mb:
        advice = "Associations are refused. Make room, or shorten [spool] retention_days."
        return failed(CheckTopic.DISK, words, advice)
    if free_mb < config.health.low_disk_mb:
        return _warning(CheckTopic.DISK, words, "Make room, or shorten [spool] retention_days.")
    if sync_s > SLOW_SYNC_S:
        advice = "Every image waits for a sync: put data_folder on a local, faster disk."
        return _warning(CheckTopic.DISK, words, advice)
    return _ok(CheckTopic.DISK, words)


def schema_line(place: str, current: str | None, newest: str, known: Sequence[str]) -> CheckResult:
    """Whether the tables are those of this version."""
    if current == newest:
        return _ok(CheckTopic.DATABASE, f"{place} answers, schema {newest}.")
    if current is None:
        return _ok(
            CheckTopic.DATABASE, f"{place} is empty; its tables are made at the first start."
        )
    if current in known:
        return _warning(
            CheckTopic.DATABASE,
            f"{place} has schema {current}, this version needs {newest}.",
            "Back it up, then run `sij-node migrate`; starting the node does the same.",
        )
    return failed(
        CheckTopic.DATABASE,
        f"{place} has schema {current}; this version knows {newest} at most.",
        "Install the newer version again, or restore the backup from before the upgrade.",
    )


# ---- TLS ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What of a certificate matters here.

    Parameters
    ----------
    issued_by_next
        Whether the one after it in the file has signed it; None for the last.
    """

    subject: str
    not_before: datetime
    not_after: datetime
    issued_by_next: bool | None = None


SOON = timedelta(days=30)


def certificate_line(where: str, certificate: Certificate, now: datetime) -> CheckResult:
    """Whether a certificate is valid, and still will be next month."""
    words = f"{where}: {certificate.subject}, valid until {certificate.not_after:%Y-%m-%d}."
    if now >= certificate.not_after:
        return failed(
            CheckTopic.TLS, f"{words} It has expired.", "Put a new certificate in its place."
        )
    if now < certificate.not_before:
        advice = "Check the clock of this machine, or wait."
        return failed(CheckTopic.TLS, f"{words} It is not valid yet.", advice)
    if certificate.issued_by_next is False:
        advice = "The file must hold the node's certificate first, then each issuer's in order."
        return failed(CheckTopic.TLS, f"{words} The next in the file has not signed it.", advice)
    if certificate.not_after - now < SOON:
        left = in_words((certificate.not_after - now).total_seconds())
        return _warning(CheckTopic.TLS, f"{words} {left} are left.", "Have a new one made.")
    return _ok(CheckTopic.TLS, words)


# ---- network -----------------------------------------------------------------------------------


class EchoOutcome(StrEnum):
    """What came of an association with a C-ECHO."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NONE = "no answer"


def port_line(what: str, place: str, is_free: bool, is_ours: bool) -> CheckResult:
    """Whether the node has its port, or could have it."""
    if is_ours:
        return _ok(CheckTopic.NETWORK, f"{what} answers at {place}.")
    if is_free:
        return _ok(CheckTopic.NETWORK, f"{what} does not run; {place} is free for it.")
    return failed(
        CheckTopic.NETWORK,
        f"Another program than {what.lower()} has {place}.",
        "End that program, or give the node another port.",
    )


def alarm_line(channel: str, place: str, error: str) -> CheckResult:
    """Whether people can be told; `error` is empty when the way to them answers."""
    if not error:
        return _ok(CheckTopic.NETWORK, f"Alarms by {channel}: {place} answers.")
    advice = "No alerts are sent this way. Correct it, then run `sij-node test-alerts`."
    return _warning(CheckTopic.NETWORK, f"Alarms by {channel}: {error}", advice)


def door_line(place: str, right: EchoOutcome, wrong: EchoOutcome, may_call: bool) -> CheckResult:
    """Whether the listener lets the right ones in, and only these.

    Parameters
    ----------
    right, wrong
        What it answered when called by its own title, and by one that is nobody's.
    may_call
        Whether a configured peer may call from this machine.
    """
    if wrong is EchoOutcome.ACCEPTED:
        words = f"{place} accepts an association for an AE title that is not its own."
        return failed(
            CheckTopic.NETWORK, words, "It is not this node; see which program has the port."
        )
    if right is EchoOutcome.ACCEPTED:
        words = f"{place} accepts its own AE title and rejects others."
        return _ok(CheckTopic.NETWORK, words)
    if right is EchoOutcome.REJECTED and not may_call:
        words = f"{place} rejects this machine, as configured: no peer may call from here."
        return _ok(CheckTopic.NETWORK, words)
    return failed(
        CheckTopic.NETWORK,
        f"{place} does not accept an association for its own AE title.",
        "Was config.toml changed after the start? Start the listener again.",
    )


def outgoing_line(peer: PeerConfig, error: str) -> CheckResult:
    """Whether a peer answers our C-ECHO; `error` is empty when it does."""
    place = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if not error:
        return _ok(CheckTopic.NETWORK, f"{place} answers a C-ECHO.")
    if peer.shadow:
        return _warning(CheckTopic.NETWORK, error, "Needed when shadow mode ends.")
    return failed(CheckTopic.NETWORK, error, "Results are kept until it answers.")


def incoming_line(peer: PeerConfig, contact: PeerActivity | None, now: datetime) -> CheckResult:
    """Whether a peer has ever called, and whether it was let in."""
    title = peer.ae_title
    if contact and contact.refused_at and contact.refused_at > (contact.accepted_at or _NEVER):
        return _warning(
            CheckTopic.NETWORK,
            f"{title} was refused when it last called: {contact.refused_because}",
            f"Compare its AE title and address with [[peer]] {title}.",
        )
    if contact is None or contact.accepted_at is None:
        return _warning(
            CheckTopic.NETWORK,
            f"{title} has never called.",
            "Have it send a C-ECHO to this node; then look at `sij-node rejected`.",
        )
    ago = in_words((now - contact.accepted_at).total_seconds())
    return _ok(CheckTopic.NETWORK, f"{title} last called {ago} ago.")


_NEVER = datetime.min.replace(tzinfo=UTC)


# ---- neural networks ---------------------------------------------------------------------------


def device_line(wish: str, gpus: Sequence[str], cores: int) -> CheckResult:
    """Where the networks run."""
    if wish != "cpu" and gpus:
        return _ok(CheckTopic.NETWORKS, f"They run on {gpus[0]}.")
    if wish == "cuda":
        advice = "Install the driver and a CUDA build of PyTorch, or set [worker] device."
        return failed(CheckTopic.NETWORKS, "[worker] wants a GPU, CUDA finds none.", advice)
    return _ok(CheckTopic.NETWORKS, f"They run on {cores} processor core(s).")


def weights_line(name: str, found: str, error: str) -> CheckResult:
    """Whether weights are whole and answer as they must; `error` is empty when they do."""
    which = f"[[weights]] {name}" if name else "[worker] weights"
    if error:
        advice = "Copy the weights folder again, both files of each network."
        return failed(CheckTopic.NETWORKS, f"{which}: {error}", advice)
    return _ok(CheckTopic.NETWORKS, f"{which}: {found}.")


# ---- clock -------------------------------------------------------------------------------------

JUMP_S = 0.1


@dataclass(frozen=True)
class ClockState:
    """What the machine's clock looks like.

    Parameters
    ----------
    is_synchronised
        What the kernel says; None where it does not.
    error_s
        By how much the kernel says it may be wrong at most.
    jump_s
        How far it moved against the monotonic clock while it was looked at.
    zone
        Name of the time zone, with its offset.
    """

    is_synchronised: bool | None
    error_s: float
    jump_s: float
    zone: str


def clock_line(clock: ClockState) -> CheckResult:
    """Whether times that people read in results and histories can be right."""
    if abs(clock.jump_s) > JUMP_S:
        return _warning(
            CheckTopic.CLOCK,
            f"The system clock jumped by {clock.jump_s:+.2f} s during the check.",
            "Nothing is timed by it, but people read it: see what sets it.",
        )
    if clock.is_synchronised is False:
        return _warning(
            CheckTopic.CLOCK,
            f"System clock is not synchronised (time zone {clock.zone}).",
            "Install chrony or systemd-timesyncd; in a container, on the host.",
        )
    known = clock.is_synchronised is not None
    precision = f"synchronised within {clock.error_s:.3f} s" if known else "not known to be wrong"
    return _ok(CheckTopic.CLOCK, f"The clock is {precision}, time zone {clock.zone}.")


# ---- the study ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoundTrip:
    """What came of the phantom study.

    Parameters
    ----------
    problem
        Where it stopped, in words; empty when its results came back.
    results
        How many objects came back.
    """

    problem: str
    results: int = 0
    seconds: float = 0.0


def study_line(trial: RoundTrip) -> CheckResult:
    """Whether a study passes from a sender through the node to a destination."""
    if trial.problem:
        advice = "Put right what failed above first; then `sij-node doctor --json` shows all."
        return failed(CheckTopic.STUDY, trial.problem, advice)
    return _ok(
        CheckTopic.STUDY,
        f"A phantom study was received, analysed and answered with {trial.results} objects "
        f"in {trial.seconds:.0f} s.",
    )
