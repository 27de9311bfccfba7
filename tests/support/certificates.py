"""Certificates created for a test."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key


@dataclass(frozen=True)
class IssuedCertificate:
    """PEM files of a certificate and its key."""

    certificate: Path
    private_key: Path


def authority(folder: Path, name: str) -> IssuedCertificate:
    """A self-signed certificate."""
    made = _paths(folder, name)
    _openssl("req", "-x509", *_new_key(made), "-out", made.certificate, "-days", "2")
    return made


def signed_by(
    issuer: IssuedCertificate, folder: Path, name: str, days: int = 2
) -> IssuedCertificate:
    """A certificate for 127.0.0.1; expired when `days` is negative."""
    made, request, extensions = _paths(folder, name), folder / "request", folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", *_new_key(made), "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-extfile", extensions),
        *("-CA", issuer.certificate, "-CAkey", issuer.private_key, "-CAcreateserial"),
        *("-days", str(days), "-out", made.certificate),
    )
    return made


def revoked_by(
    issuer: IssuedCertificate, folder: Path, *revoked: IssuedCertificate, due_days: float = 2
) -> Path:
    """A revocation list; out of date when `due_days` is negative."""
    now = datetime.now(UTC)
    ca = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    key = load_pem_private_key(issuer.private_key.read_bytes(), None)
    made = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
    made = made.last_update(now - timedelta(days=9)).next_update(now + timedelta(days=due_days))
    for one in revoked:
        number = x509.load_pem_x509_certificate(one.certificate.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
        made = made.add_revoked_certificate(entry.build())
    file = folder / "crl.pem"
    file.write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return file


def _paths(folder: Path, name: str) -> IssuedCertificate:
    return IssuedCertificate(folder / f"{name}.pem", folder / f"{name}.key")


def _new_key(made: IssuedCertificate) -> tuple[str | Path, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return (*curve, "-keyout", made.private_key, "-subj", f"/CN={made.certificate.stem}")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
