"""TLS contexts: encryption and certificates of both sides.

Source: DICOM PS3.15 B.12 (BCP 195), RFC 9325.
"""

import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from sij_node.config.settings import TlsConfig
from sij_node.errors import ConfigurationInvalid, os_reason

_log = structlog.get_logger()

TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only, RFC 9325 4.2; always so in TLS 1.3."""


def server_context(config: TlsConfig, section: str = "[listener.tls]") -> ssl.SSLContext:
    """For incoming connections: TLS 1.2 or later; `client_ca` requires client certificates.

    Parameters
    ----------
    section
        Section of config.toml with the certificates, for the message.

    Raises
    ------
    ConfigurationInvalid
        If a certificate or key cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(config.certificate, config.private_key)
        if config.client_ca is not None:
            context.load_verify_locations(config.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if config.crl is not None:
            context.load_verify_locations(config.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        raise ConfigurationInvalid(
            f"{section} cannot be used: a file {os_reason(error)}. "
            "Certificate, private key, client CA and CRL must be readable, matching PEM files."
        ) from error
    return context


class ServerTls:
    """TLS for incoming connections; certificates and revocation list are read again on change.

    Raises
    ------
    ConfigurationInvalid
        If a certificate or key cannot be loaded.
    """

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._read_at = self._versions()
        self._context = server_context(config)
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext:
        """The context for the next connection; the former one if a new file cannot be used."""
        with self._lock:
            versions = self._versions()
            if versions != self._read_at:
                self._read_at = versions
                try:
                    self._context = server_context(self._config)
                    _log.info("certificates read again")
                except ConfigurationInvalid as error:
                    _log.error("certificates not read again", reason=str(error))
            return self._context

    def _versions(self) -> tuple[tuple[int, int] | None, ...]:
        config = self._config
        files = (config.certificate, config.private_key, config.client_ca, config.crl)
        return tuple(map(_version, files))


def _version(file: Path | None) -> tuple[int, int] | None:
    try:
        found = file and file.stat()
    except OSError:  # being replaced
        return None
    return (found.st_mtime_ns, found.st_ino) if found else None


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Names in a verified certificate, in lower case: of the subject and alternative ones.

    Parameters
    ----------
    certificate
        As `ssl.SSLSocket.getpeercert` returns it.
    """
    alternative = {value for _, value in certificate.get("subjectAltName", ())}
    common = {
        value
        for parts in certificate.get("subject", ())
        for key, value in parts
        if key == "commonName"
    }
    return frozenset(name.lower() for name in alternative | common)
