"""What the doctor measures: disk, certificates, ports, peers, weights and clock.

Nothing is changed permanently. `sij_node.doctor.assessments` decides what a measurement means.
"""

import ctypes
import errno
import getpass
import hashlib
import json
import os
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pynetdicom import AE

from sij_node.config.settings import AnyDestination, Config, PeerConfig, TlsConfig
from sij_node.doctor.assessments import Certificate, ClockState, EchoOutcome
from sij_node.errors import ConfigurationInvalid, DestinationUnavailable, WeightsRefused, os_reason
from sij_node.network.connection_test import check_connection
from sij_node.network.scu import AssociationRequestor
from sij_node.network.storage_commitment import COMMITMENT_CONTEXTS
from sij_node.store.spool import Spool

SYNCS = 5
ECHO_TIMEOUT_S = 10
UNKNOWN_TITLE = "NOT_THIS_NODE"
NETWORKS = ("contour", "lesion")
VERIFICATION = "1.2.840.10008.1.1"
_STA_UNSYNC = 0x0040


# ---- disk --------------------------------------------------------------------------------------


def free_mb(config: Config) -> float:
    """Free space on the spool's disk; checks first that the spool is writable.

    Raises
    ------
    SpoolUnavailable
    """
    spool = Spool(config.node.data_folder / "spool")
    spool.check_writable()
    return spool.free_mb()


def not_writable(folder: Path) -> str:
    """Why this user could not write into a folder, or create it; empty if that is possible."""
    existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by user {getpass.getuser()}"
    return ""


def sync_s(folder: Path) -> float:
    """Median duration of an fsync in a folder; raises `OSError`."""
    path = folder / f".doctor-{os.getpid()}"
    try:
        return statistics.median(_one_sync_s(path) for _ in range(SYNCS))
    finally:
        path.unlink(missing_ok=True)


def _one_sync_s(path: Path) -> float:
    with path.open("wb") as file:
        file.write(bytes(65_536))
        began = time.perf_counter()
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - began


# ---- TLS ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PemFile:
    """A file with certificates that the configuration names.

    Parameters
    ----------
    is_chain
        Whether each certificate must be signed by the next; trusted CAs come in any order.
    """

    where: str
    file: Path
    is_chain: bool


def certificate_files(config: Config) -> Iterator[PemFile]:
    """The certificate files that the configuration names."""
    tls, web, audit, alerts = config.listener.tls, config.web.tls, config.audit, config.alerts
    own = {
        "[listener.tls] certificate": tls and tls.certificate,
        "[web.tls] certificate": web and web.certificate,
        "[audit] syslog_certificate": audit.syslog_certificate,
    }
    trusted = {
        "[listener.tls] client_ca": tls and tls.client_ca,
        "[delivery] ca": config.delivery.ca,
        "[audit] syslog_ca": audit.syslog_ca,
        "[alerts.email] ca": alerts.email and alerts.email.ca,
        "[alerts.webhook] ca": alerts.webhook and alerts.webhook.ca,
    }
    for one in config.destination:
        own[f"[[destination]] {one.name} certificate"] = one.certificate
        trusted[f"[[destination]] {one.name} ca"] = one.ca
    for files, is_chain in ((own, True), (trusted, False)):
        yield from (PemFile(where, file, is_chain) for where, file in files.items() if file)


def own_certificates(config: Config) -> Iterator[tuple[str, TlsConfig]]:
    """Certificate and key of the node's own servers, with their section."""
    if config.listener.tls is not None:
        yield "[listener.tls]", config.listener.tls
    if config.web.tls is not None:
        web = config.web.tls
        yield "[web.tls]", TlsConfig(certificate=web.certificate, private_key=web.private_key)


def certificates_in(file: Path, is_chain: bool) -> tuple[Certificate, ...]:
    """The certificates of a PEM file, in order; of a chain, each signature is checked.

    Raises
    ------
    ConfigurationInvalid
        If it cannot be read or contains no certificate.
    """
    try:
        chain = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else "has no certificate in PEM format"
        raise ConfigurationInvalid(f"{file} {why}.") from error
    signed = [_is_signed_by(one, issuer) if is_chain else None for one, issuer in pairwise(chain)]
    return tuple(
        Certificate(
            one.subject.rfc4514_string(),
            one.not_valid_before_utc,
            one.not_valid_after_utc,
            by_next,
        )
        for one, by_next in zip(chain, [*signed, None], strict=True)
    )


def next_revocations(file: Path) -> datetime | None:
    """When the next revocation list is due, by the newest in a PEM file.

    Raises
    ------
    ConfigurationInvalid
        If it cannot be read or is no revocation list.
    """
    try:
        return x509.load_pem_x509_crl(file.read_bytes()).next_update_utc
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else "has no CRL in PEM format"
        raise ConfigurationInvalid(f"{file} {why}.") from error


def _is_signed_by(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# ---- network -----------------------------------------------------------------------------------


def is_free(host: str, port: int) -> bool:
    """Whether a port of this machine is free.

    Raises
    ------
    OSError
        If the address is not one of this machine, or this user may not listen there.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def reachable(host: str) -> str:
    """The address at which this machine reaches its own server."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def is_our_web_server(config: Config) -> bool:
    """Whether the web server at the configured address is that of a node."""
    web = config.web
    host = reachable(web.host)
    place = f"[{host}]" if ":" in host else host
    url = f"{'https' if web.tls else 'http'}://{place}:{web.port}/live"
    try:
        # The certificate is for the public host name, not for this address.
        response = httpx.get(url, timeout=ECHO_TIMEOUT_S, verify=False, trust_env=False)  # noqa: S501
        return bool(response.json() == {"status": "ok"})
    except (httpx.HTTPError, ValueError):
        return False


def echo_own_listener(config: Config, called: str, calling: str) -> EchoOutcome:
    """Request an association with the node's own listener, over the network."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = ECHO_TIMEOUT_S
    entity.connection_timeout = ECHO_TIMEOUT_S
    entity.add_requested_context(VERIFICATION)
    host, port = reachable(config.listener.host), config.listener.port
    tls = _own_client_context(config)
    association = entity.associate(
        host, port, ae_title=called, tls_args=(tls, host) if tls else None
    )
    if association.is_established:
        association.release()
        return EchoOutcome.ACCEPTED
    return EchoOutcome.REJECTED if association.is_rejected else EchoOutcome.NO_RESPONSE


def _own_client_context(config: Config) -> ssl.SSLContext | None:
    """TLS to the own listener: with the own certificate, without verifying the server."""
    tls = config.listener.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tls.certificate, tls.private_key)
    return context


def connection_error(config: Config, to: AnyDestination) -> str:
    """Why a peer does not respond to our C-ECHO, or a destination to a query; empty if it does."""
    try:
        check_connection(config, to)
    except DestinationUnavailable as error:
        return str(error)
    return ""


def commitment_error(config: Config, peer: PeerConfig) -> str:
    """Why a peer does not accept storage commitment; empty if it does. Nothing is requested."""
    caller = AssociationRequestor(config.node.ae_title, config.delivery, config.listener.tls)
    try:
        with caller.associated(peer, COMMITMENT_CONTEXTS):
            return ""
    except DestinationUnavailable as error:
        return str(error)


# ---- neural networks ---------------------------------------------------------------------------


def gpus() -> tuple[str, ...]:
    """The GPUs that CUDA finds, with their memory."""
    import torch  # noqa: PLC0415 - takes seconds, and only some checks need it

    found = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return tuple(f"{one.name}, {one.total_memory / 1e9:.0f} GB" for one in found)


def networks_in(folder: Path) -> str:
    """Names and versions of the networks in a folder whose cards and files an analysis accepts.

    Raises
    ------
    WeightsRefused
        If a file is missing or damaged, or a card does not match this version.
    """
    from models.weights import WeightsInvalid, read_card  # noqa: PLC0415 - loads torch

    found = weights_on_disk(folder)
    try:
        for network in NETWORKS:
            read_card(folder / network)
    except WeightsInvalid as error:
        raise WeightsRefused(f"{error}.") from error
    return found


def weights_on_disk(folder: Path) -> str:
    """Names and versions of the networks in a folder; checks the digests of their files.

    Raises
    ------
    WeightsRefused
        If a file is missing or does not match its card.
    """
    return ", ".join(_card_of(folder / network) for network in NETWORKS)


def _card_of(folder: Path) -> str:
    try:
        card = json.loads((folder / "card.json").read_bytes())
        found = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        if found != card["sha256"]:
            raise WeightsRefused(
                f"{folder / 'weights.safetensors'} does not match the digest on its card."
            )
        return f"{card['name']} {card['version']}"
    except OSError as error:
        raise WeightsRefused(f"{error.filename} {os_reason(error)}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsRefused(f"{folder / 'card.json'} is not a valid model card.") from error


# ---- clock -------------------------------------------------------------------------------------


def clock(pause_s: float = 0.3) -> ClockState:
    """The state of the system clock, observed for `pause_s` seconds."""
    before = time.time() - time.monotonic()
    time.sleep(pause_s)
    is_synchronised, error_s = _kernel_clock()
    jump_s = time.time() - time.monotonic() - before
    return ClockState(is_synchronised, error_s, jump_s, f"{datetime.now().astimezone():%Z (UTC%z)}")


def _kernel_clock() -> tuple[bool | None, float]:
    """Whether the kernel considers its clock synchronised, and its maximum error (adjtimex(2)).

    Returns
    -------
    bool or None
        None if the kernel does not report it.
    float
        Seconds.
    """
    timex = (ctypes.c_long * 64)()  # modes = 0: only reads
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0:
        return None, 0.0
    max_error_us, status = timex[3], timex[5] & 0xFFFFFFFF
    return not status & _STA_UNSYNC, max_error_us / 1e6
