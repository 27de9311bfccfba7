"""Certificates created for a test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


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


def _paths(folder: Path, name: str) -> IssuedCertificate:
    return IssuedCertificate(folder / f"{name}.pem", folder / f"{name}.key")


def _new_key(made: IssuedCertificate) -> tuple[str | Path, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return (*curve, "-keyout", made.private_key, "-subj", f"/CN={made.certificate.stem}")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
