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


class Registration(StrEnum):
    """Outcome of registering a received instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """Already stored with the same content: acknowledged again, nothing changes."""
    CONFLICT = "conflict"
    """Already stored with different content: the first copy is kept, the second quarantined."""
    OWN_RESULT = "own result"
    """One of the node's own results sent back: acknowledged, never analysed."""


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
