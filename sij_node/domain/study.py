"""Received instances, and the patient and study that they belong to.

Source: DICOM PS3.3 A.1.2, the patient, study, series and instance levels; C.7.1.1 (patient).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sij_node.errors import MixedPatients

InstanceReference = tuple[str, str, str, str]
"""UIDs of study, series, SOP class and SOP instance."""


@dataclass(frozen=True)
class PatientIdentity:
    """A patient's identifier and its issuer.

    Two studies are of the same patient only if both identifier and issuer are equal: without an
    issuer, the origin of an identifier is unknown. Within a study, `only_patient` applies. An
    empty identifier is valid within one study but never links it to another.

    Parameters
    ----------
    identifier, issuer
        Patient ID and Issuer of Patient ID, stripped, for comparison; never logged.
    """

    identifier: str = field(repr=False)
    issuer: str = field(default="", repr=False)

    @property
    def is_named(self) -> bool:
        """Whether the patient can be recognised in other studies."""
        return self.identifier != ""


def only_patient(patients: Iterable[PatientIdentity]) -> PatientIdentity:
    """The patient of the images of a study.

    An issuer that only some of the images state applies to all of them.

    Raises
    ------
    MixedPatients
        If identifiers or stated issuers differ; the message does not identify them.
    """
    found = set(patients)
    issuers = {one.issuer for one in found if one.issuer}
    if len({one.identifier for one in found}) != 1 or len(issuers) > 1:
        raise MixedPatients(
            f"The study holds images of {len(found)} patients; one is required, with the same "
            "identifier and issuer on every image. Correct the study in the PACS and resend it."
        )
    return PatientIdentity(found.pop().identifier, issuers.pop() if issuers else "")


@dataclass(frozen=True)
class StudyAttributes:
    """What people recognise a study by, as its images state it.

    Parameters
    ----------
    study_date
        ISO 8601; empty if unknown.
    description
        Free text of the sender.
    accession_number
        Identifies the order; for operators only, and never logged.
    """

    study_date: str
    description: str
    accession_number: str = field(repr=False)


@dataclass(frozen=True)
class ReceivedInstance:
    """A stored instance, with what is needed to find, group and verify it.

    Parameters
    ----------
    file_name
        Name within the spool: a hash of the SOP Instance UID, never text from the object.
    sha256
        Hex digest of the dataset's bytes as received, without preamble and file meta.
    source_ae
        Calling AE title of the association that delivered it.
    received_at
        UTC, for display; no timing depends on it.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    patient_id: str
    issuer_of_patient_id: str
    source_ae: str
    file_name: str
    size_bytes: int
    sha256: str
    received_at: datetime

    @property
    def patient(self) -> PatientIdentity:
        """The patient."""
        return PatientIdentity(self.patient_id.strip(), self.issuer_of_patient_id.strip())


@dataclass(frozen=True)
class FramesOfInstance(ReceivedInstance):
    """Those frames of a multi-frame image that belong to one acquisition, counted from 0."""

    frames: tuple[int, ...]


class Registration(StrEnum):
    """Outcome of registering a received instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """Already stored with the same content: acknowledged again, nothing changes."""
    CORRECTION = "correction"
    """Already stored under another identity: kept beside the first copy, see `ReceivedCopy`."""
    CONFLICT = "conflict"
    """Already stored with different content: the first copy is kept, the second quarantined."""
    OWN_RESULT = "own result"
    """One of the node's own results sent back: acknowledged, never analysed."""


class CopyKind(StrEnum):
    """How a second copy of an instance differs from the stored one."""

    CORRECTION = "correction"
    """In identity only: the archive has corrected patient or study."""
    CONFLICT = "conflict"
    """In pixels, geometry or acquisition: another object under the same SOP Instance UID."""


class CopyState(StrEnum):
    """What has become of a second copy."""

    PENDING = "pending"
    HELD = "held"
    """Never accepted automatically: it would undo an earlier correction."""
    ACCEPTED = "accepted"
    DISCARDED = "discarded"
    REPLACED = "replaced"
    """A later copy of the same instance has taken its place."""


@dataclass(frozen=True)
class ReceivedCopy:
    """A second copy of a stored instance, which an administrator can accept or discard.

    Parameters
    ----------
    instance
        The instance as this copy states it.
    stored
        The stored instance, which stays in use until the copy is accepted.
    differs
        Keywords of the attributes that differ; their values are not kept.
    identity, stored_identity
        `sij_node.dicom.same_object.identity_digest` of both.
    quarantined_as
        File name of the copy within the quarantine folder.
    """

    kind: CopyKind
    instance: ReceivedInstance
    stored: ReceivedInstance
    differs: tuple[str, ...]
    identity: str
    stored_identity: str
    quarantined_as: str
    state: CopyState = CopyState.PENDING
    decided_by: str = ""
    decided_at: datetime | None = None

    @property
    def summary(self) -> "CopySummary":
        """What can be shown of it without naming the patient."""
        return CopySummary(
            kind=self.kind,
            state=self.state,
            sop_instance_uid=self.instance.sop_instance_uid,
            stored_study_uid=self.stored.study_uid,
            study_uid=self.instance.study_uid,
            source_ae=self.instance.source_ae,
            received_at=self.instance.received_at,
            differs=self.differs,
            stored_sha256=self.stored.sha256,
            sha256=self.instance.sha256,
        )


@dataclass(frozen=True)
class CopySummary:
    """A second copy of a stored instance, without its patient.

    Parameters
    ----------
    stored_study_uid, study_uid
        Study of the stored instance, and of the copy.
    differs
        Keywords of the attributes that differ.
    stored_sha256, sha256
        Hex digests of both datasets.
    """

    kind: CopyKind
    state: CopyState
    sop_instance_uid: str
    stored_study_uid: str
    study_uid: str
    source_ae: str
    received_at: datetime
    differs: tuple[str, ...]
    stored_sha256: str
    sha256: str


@dataclass(frozen=True)
class IdentityCorrection:
    """A study whose identity was corrected after results had been sent.

    Parameters
    ----------
    corrected_on
        UTC, when the last correction was accepted.
    differs
        Keywords of the attributes that were corrected.
    former
        An image under its former identity; its file is still stored.
    earlier
        Results that were sent to this destination under the former identity.
    """

    corrected_on: datetime
    differs: tuple[str, ...]
    former: ReceivedInstance
    earlier: tuple[InstanceReference, ...] = ()

    @property
    def has_moved(self) -> bool:
        """Whether the images now belong to another study."""
        return "StudyInstanceUID" in self.differs


@dataclass(frozen=True)
class Refusal:
    """A rejected object or association, recorded for the administrator.

    Parameters
    ----------
    status
        C-STORE status of the response, or 0 if an association was rejected or aborted.
    quarantined_as
        File name within the quarantine folder, or empty if nothing was stored.
    """

    at: datetime
    source_ae: str
    address: str
    sop_instance_uid: str
    study_uid: str
    status: int
    reason: str
    quarantined_as: str = ""

    @property
    def outcome(self) -> str:
        """Status of the C-STORE response, or how the association ended, with the A-ASSOCIATE-RJ.

        Result, source and reason of the latter are those of PS3.8 Table 9-21.
        """
        if self.status:
            return f"0x{self.status:04X}"
        ended, _, reason = self.reason.partition(": ")
        return ended.removeprefix(_ASSOCIATION) if _is_ending(ended) and reason else ""

    @property
    def explanation(self) -> str:
        """The reason without the outcome."""
        ended, _, reason = self.reason.partition(": ")
        return reason if _is_ending(ended) and reason else self.reason


_ASSOCIATION = "association "


def of_association(outcome: str, reason: str) -> str:
    """The reason of a refusal that concerns an association, as `Refusal` stores it."""
    return f"{_ASSOCIATION}{outcome}: {reason}"


def _is_ending(text: str) -> bool:
    return text.startswith((f"{_ASSOCIATION}rejected", f"{_ASSOCIATION}aborted"))
