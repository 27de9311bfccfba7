"""TLS contexts: encryption and certificates of both sides.

Source: DICOM PS3.15 B.12 (BCP 195), RFC 9325.
"""

import ssl

from sij_node.config.settings import TlsConfig
from sij_node.errors import ConfigurationInvalid

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
    except OSError as error:
        raise ConfigurationInvalid(
            f"{section} cannot be used: {error.strerror or error}. "
            "Certificate, private key and client CA must be readable, matching PEM files."
        ) from error
    return context
