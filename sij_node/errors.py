"""Every error the node can name, sorted by what it means for the job.

=======================  ===========================  ============  =====
family                   job                          C-STORE       exit
=======================  ===========================  ============  =====
`InputRejected`          rejected, reason sent back   stored        65
`TemporarilyUnavailable` waits, then failed           0xA700        75
`InternalFault`          failed, a person is called   0xC211        70
`ConfigurationInvalid`   none: the node won't start   none          78
=======================  ===========================  ============  =====

A message says what, which, what was needed and what to do. It never holds a patient's name,
identifier or birth date; UIDs are allowed. Exit codes follow BSD's sysexits.
"""

from typing import ClassVar


class NodeError(Exception):
    """The root of every error the node names itself."""

    exit_code: ClassVar[int] = 70


class InputRejected(NodeError):
    """This study can never be analysed as it is; trying again will not help.

    Each subclass carries the code value under which the reason is sent back to the PACS.
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
    """T1 and STIR, or parts of one series, do not share a frame of reference."""

    reason_code = "mixed-frames-of-reference"


class GeometryUnusable(InputRejected):
    """Slices are missing, doubled, tilted against each other or without a position."""

    reason_code = "geometry-unusable"


class PixelsUnusable(InputRejected):
    """The pixel data cannot be decoded, or header and codestream disagree."""

    reason_code = "pixels-unusable"


class ConflictingCopies(InputRejected):
    """The same SOP Instance UID arrived twice with different content."""

    reason_code = "conflicting-copies"


class DatasetUnreadable(InputRejected):
    """The bytes of an instance do not follow DICOM's encoding, or end too early."""

    reason_code = "dataset-unreadable"


class JointNotFound(InputRejected):
    """The networks see no sacroiliac joint in the images."""

    reason_code = "joint-not-found"


class TemporarilyUnavailable(NodeError):
    """Something the node depends on does not answer now; trying again may help."""

    exit_code: ClassVar[int] = 75


class DatabaseUnavailable(TemporarilyUnavailable):
    """The database does not answer, is locked, or refuses to write."""


class SpoolUnavailable(TemporarilyUnavailable):
    """The spool folder is full, read-only or gone."""


class DestinationUnavailable(TemporarilyUnavailable):
    """A destination refused, aborted or did not answer."""


class AlertNotSent(TemporarilyUnavailable):
    """An alert could not be sent by e-mail or webhook; it is sent again later."""


class DestinationRefused(DestinationUnavailable):
    """A destination rejected the association."""


class ProviderUnavailable(TemporarilyUnavailable):
    """The hospital's identity provider does not answer."""


class LeaseLost(TemporarilyUnavailable):
    """Another process took the job over; nothing of this attempt may be written."""


class WorkerLost(TemporarilyUnavailable):
    """The process that held the job died or fell silent."""


class PriorsUnavailable(NodeError):
    """Earlier results cannot be had; the study is analysed without them, and its report says so.

    Each subclass carries the problem under which `sij_node.results.language` tells it.
    """

    exit_code: ClassVar[int] = 75
    problem: ClassVar[str] = "unavailable"


class ArchiveSilent(PriorsUnavailable):
    """The archive cannot be reached, or broke off."""

    problem = "unreachable"


class ArchiveRefused(PriorsUnavailable):
    """The archive does not offer the question or the way of fetching, or answered with an error."""

    problem = "refused"


class ArchiveSlow(PriorsUnavailable):
    """The archive did not answer within the time that priors may take."""

    problem = "late"


class PriorUnreadable(PriorsUnavailable):
    """An earlier report is damaged."""

    problem = "unreadable"


class PriorOfAnotherPatient(PriorsUnavailable):
    """The archive sent a report of another patient."""

    problem = "another patient"


class AssociationEnded(NodeError):
    """An association ended without a release; only that association is touched."""

    exit_code: ClassVar[int] = 75


class ProtocolViolated(AssociationEnded):
    """The peer sent what the upper layer protocol or DIMSE does not allow.

    Parameters
    ----------
    abort_reason
        Reason/Diag. of the A-ABORT that is sent back, DICOM PS3.8 Table 9-26.
    """

    def __init__(self, message: str, abort_reason: int = 0) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason


class PeerSilent(AssociationEnded):
    """The peer did not send, finish or take what it had to in time."""


class PeerGone(AssociationEnded):
    """The connection was closed or reset, or the peer aborted."""


class HandshakeRefused(PeerGone):
    """A TLS handshake failed over certificates, versions or ciphers, not because somebody left."""


class InternalFault(NodeError):
    """The node itself is wrong."""

    exit_code: ClassVar[int] = 70


class StoredCopyDamaged(InternalFault):
    """The disk gives back other bytes than were stored."""


class ResultsInconsistent(InternalFault):
    """A result, read back, says something else than was found; nothing of it may be sent."""


class IllegalStep(InternalFault):
    """A step that the job's state does not allow."""

    exit_code: ClassVar[int] = 65


class UnknownJob(NodeError):
    """A job number that is not in the table."""

    exit_code: ClassVar[int] = 66


class UnknownName(NodeError):
    """A peer, or a set of weights, that config.toml does not name."""

    exit_code: ClassVar[int] = 66


class AccessRefused(NodeError):
    """Somebody may not do what they ask for."""

    exit_code: ClassVar[int] = 77


class SignInNeeded(AccessRefused):
    """Nobody is signed in, or the session or token has ended."""


class SignInFailed(AccessRefused):
    """Name and password, or what an identity provider says, do not let anybody in."""


class SignInThrottled(AccessRefused):
    """Too many attempts failed; the next may be made after a while.

    Parameters
    ----------
    wait_s
        Until then.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class RoleTooLow(AccessRefused):
    """The person is known, but their role does not allow this."""


class FormForged(AccessRefused):
    """A request that changes something does not come from the node's own page."""


class AccountUnusable(NodeError):
    """A name, a password or an invitation that cannot be used."""

    exit_code: ClassVar[int] = 65


class UnknownUser(NodeError):
    """A user's name that is not in the table."""

    exit_code: ClassVar[int] = 67


class ResultUnknown(NodeError):
    """A result that a job has not made."""

    exit_code: ClassVar[int] = 66


class ImagesCleared(NodeError):
    """What is asked for was cleared from the spool when its time was over."""

    exit_code: ClassVar[int] = 66


class TeachingUnusable(NodeError):
    """Contours or readings of a site's own data cannot be used for training."""

    exit_code: ClassVar[int] = 65


class WeightsRefused(NodeError):
    """A weights file or its card is missing, damaged or does not fit."""

    exit_code: ClassVar[int] = 78


class ConfigurationInvalid(NodeError):
    """config.toml cannot be used; the message names every problem at once."""

    exit_code: ClassVar[int] = 78
