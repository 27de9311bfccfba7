"""How a connection is encrypted, and how both sides prove who they are.

Source: DICOM PS3.15 B.12 (BCP 195), RFC 9325.
"""

import ssl

from sij_node.config.settings import TlsConfig
from sij_node.errors import ConfigurationInvalid

TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only, RFC 9325 4.2. TLS 1.3 has no others."""


def server_context(config: TlsConfig, section: str = "[listener.tls]") -> ssl.SSLContext:
    """For connections that come in: TLS 1.2 at least; with `client_ca` peers prove who they are.

    Parameters
    ----------
    section
        Where the certificates are named, for people.

    Raises
    ------
    ConfigurationInvalid
        When a certificate or key cannot be used.
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
            "Certificate, private key and client CA must be readable PEM files that fit together."
        ) from error
    return context
