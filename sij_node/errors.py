"""The errors of the node, by their consequence for the job.

=======================  ===========================  ============  =====
family                   job                          C-STORE       exit
=======================  ===========================  ============  =====
`InputRejected`          rejected, reason sent back   stored        65
`TemporarilyUnavailable` waits, then failed           0xA700        75
`InternalFault`          failed, alert sent           0xC211        70
`ConfigurationInvalid`   none, node does not start    none          78
=======================  ===========================  ============  =====

A message states what is wrong, with which object, what was expected and what to do. It never
contains a patient's name, identifier or birth date; UIDs are allowed. Exit codes follow BSD's
sysexits.
"""

import errno
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, TypeVar

T = TypeVar("T")


def attempted(call: Callable[[], T]) -> T | Exception:
    """What a call returns, or any error that it raises, for the caller to judge."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - returned to the caller, never dropped
        return error


def os_reason(error: OSError) -> str:
    """Why the system refused a file, an address or a certificate, as the end of a sentence."""
    if isinstance(error, ssl.SSLError):
        reason = next((word for key, word in _TLS_REASONS.items() if key in str(error)), "")
        return reason or f"cannot be used for TLS ({error.reason or 'unknown reason'})"
    return (
        _OS_REASONS.get(error.errno or 0)
        or (error.strerror or str(error) or type(error).__name__).lower()
    )


_OS_REASONS: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOENT: "does not exist",
        errno.ENOTDIR: "lies below something that is not a folder",
        errno.EISDIR: "is a folder, not a file",
        errno.EACCES: "cannot be accessed by this user",
        errno.EPERM: "cannot be accessed by this user",
        errno.EROFS: "is on a read-only file system",
        errno.ENOSPC: "is on a full disk",
        errno.EEXIST: "is a file, not a folder",
        errno.EADDRINUSE: "is already in use",
        errno.EADDRNOTAVAIL: "is not an address of this machine",
    }
)
_TLS_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "KEY_VALUES_MISMATCH": "is not the private key of the certificate",
        "NO_CERTIFICATE_OR_CRL_FOUND": "is not a PEM file with a certificate",
        "NO_START_LINE": "is not a PEM file",
        "PEM lib": "is not a PEM file",
    }
)


class NodeError(Exception):
    """Base class of all errors of the node."""

    exit_code: ClassVar[int] = 70


class InputRejected(NodeError):
    """The study cannot be analysed as it is; a retry will not help.

    Each subclass has the code value under which the reason is reported to the PACS.
    """

    exit_code: ClassVar[int] = 65
    reason_code: ClassVar[str] = "input-rejected"


class PairMissing(InputRejected):
    """No usable T1 series, no usable STIR series, or neither."""

    reason_code = "pair-missing"


class MixedPatients(InputRejected):
    """Instances of one study belong to more than one patient."""

    reason_code = "mixed-patients"


class MixedFramesOfReference(InputRejected):
    """T1 and STIR, or the images of one series, have different frames of reference."""

    reason_code = "mixed-frames-of-reference"


class GeometryUnusable(InputRejected):
    """Slices are missing, duplicated, not parallel or without position."""

    reason_code = "geometry-unusable"


class PixelsUnusable(InputRejected):
    """Pixel data cannot be decoded, or contradict the header."""

    reason_code = "pixels-unusable"


class ConflictingCopies(InputRejected):
    """A SOP Instance UID was received twice with different content."""

    reason_code = "conflicting-copies"


class DatasetUnreadable(InputRejected):
    """A dataset violates the DICOM encoding or is truncated."""

    reason_code = "dataset-unreadable"


class JointNotFound(InputRejected):
    """The networks found no sacroiliac joint in the images."""

    reason_code = "joint-not-found"


class TemporarilyUnavailable(NodeError):
    """Something the node depends on is unavailable; a retry may help."""

    exit_code: ClassVar[int] = 75


class DatabaseUnavailable(TemporarilyUnavailable):
    """The database does not respond, is locked or read-only."""


class SpoolUnavailable(TemporarilyUnavailable):
    """The spool folder is full, read-only or missing."""


class DestinationUnavailable(TemporarilyUnavailable):
    """A destination rejected or aborted the association, or did not respond."""


class ResultsRefused(NodeError):
    """A destination refused results for a reason that no retry removes; its settings must change.

    The delivery fails at once.
    """

    exit_code: ClassVar[int] = 75


class AlertNotSent(TemporarilyUnavailable):
    """An alert could not be sent by e-mail or webhook; it is sent again later."""


class DeliveryInterrupted(TemporarilyUnavailable):
    """A delivery ended with an unexpected error; only this delivery is affected."""


class CommitmentUnsupported(NodeError):
    """A destination does not support storage commitment, or refused the request; C-FIND may do."""

    exit_code: ClassVar[int] = 75


class DestinationRefused(DestinationUnavailable):
    """A destination rejected the association."""


class ProviderUnavailable(TemporarilyUnavailable):
    """The identity provider does not respond."""


class RequestMalformed(NodeError):
    """A request whose body is incomplete or not in the required format; nothing of it is kept."""

    exit_code: ClassVar[int] = 65


class LeaseLost(TemporarilyUnavailable):
    """The lease expired and another worker claimed the job; this attempt writes nothing."""


class WorkerLost(TemporarilyUnavailable):
    """The worker that held the lease died or stopped sending heartbeats."""


class OutOfMemory(TemporarilyUnavailable):
    """An analysis needed more memory than allowed or available."""


class PriorsUnavailable(NodeError):
    """Prior results are unavailable; the study is analysed without them, and its report says so.

    Each subclass has the problem by which `sij_node.results.language` words it.
    """

    exit_code: ClassVar[int] = 75
    problem: ClassVar[str] = "unavailable"


class ArchiveUnreachable(PriorsUnavailable):
    """The archive cannot be reached, or aborted."""

    problem = "unreachable"


class ArchiveRefused(PriorsUnavailable):
    """The archive does not support the query or retrieval, or responded with an error status."""

    problem = "refused"


class ArchiveTimedOut(PriorsUnavailable):
    """The archive did not respond within [priors] timeout_s."""

    problem = "late"


class PriorUnreadable(PriorsUnavailable):
    """A prior report is damaged."""

    problem = "unreadable"


class PriorOfAnotherPatient(PriorsUnavailable):
    """The archive sent a report of a different patient."""

    problem = "another patient"


class AssociationEnded(NodeError):
    """An association ended without release; others are not affected."""

    exit_code: ClassVar[int] = 75


class ProtocolViolated(AssociationEnded):
    """The peer violated the DICOM upper layer protocol or DIMSE.

    Parameters
    ----------
    abort_reason
        Reason/Diag. of the A-ABORT sent to the peer, DICOM PS3.8 Table 9-26.
    """

    def __init__(self, message: str, abort_reason: int = 0) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason


class PeerTimedOut(AssociationEnded):
    """The peer exceeded a timeout."""


class PeerGone(AssociationEnded):
    """The peer closed or reset the connection, or aborted the association."""


class HandshakeRefused(PeerGone):
    """A TLS handshake failed because of certificates, versions or ciphers."""


class InternalFault(NodeError):
    """Internal error of the node."""

    exit_code: ClassVar[int] = 70


class StoredCopyDamaged(InternalFault):
    """A stored file was altered on disk."""


class StoredResultDamaged(InternalFault):
    """A stored result was altered on disk; it is not sent."""


class ResultsInconsistent(InternalFault):
    """A result read back differs from the findings; no result of the study is sent."""


class IllegalStep(InternalFault):
    """A step not allowed in the job's state."""

    exit_code: ClassVar[int] = 65


class UnknownJob(NodeError):
    """No job with this number."""

    exit_code: ClassVar[int] = 66


class UnknownName(NodeError):
    """No such peer, or no such weights, in config.toml."""

    exit_code: ClassVar[int] = 66


class AccessRefused(NodeError):
    """Access denied."""

    exit_code: ClassVar[int] = 77


class SignInNeeded(AccessRefused):
    """Not signed in, or the session or token has expired."""


class SignInFailed(AccessRefused):
    """Wrong credentials, or rejected by the identity provider."""


class SignInThrottled(AccessRefused):
    """Too many failed sign-in attempts.

    Parameters
    ----------
    wait_s
        Seconds until the next attempt is allowed.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class RoleTooLow(AccessRefused):
    """The user's role does not allow this action."""


class FormForged(AccessRefused):
    """A state-changing request without a valid CSRF token or origin."""


class AccountUnusable(NodeError):
    """An invalid user name, password or invitation."""

    exit_code: ClassVar[int] = 65


class UnknownUser(NodeError):
    """No user with this name."""

    exit_code: ClassVar[int] = 67


class ResultUnknown(NodeError):
    """The job has no such result."""

    exit_code: ClassVar[int] = 66


class ImagesCleared(NodeError):
    """The files were removed from the spool after the retention time."""

    exit_code: ClassVar[int] = 66


class TrainingCaseUnusable(NodeError):
    """Contours or readings cannot be exported as a training case."""

    exit_code: ClassVar[int] = 65


class WeightsRefused(NodeError):
    """A weights file or its model card is missing, damaged or incompatible."""

    exit_code: ClassVar[int] = 78


class ConfigurationInvalid(NodeError):
    """config.toml is invalid; the message lists every problem."""

    exit_code: ClassVar[int] = 78
