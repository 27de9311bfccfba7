"""What has been received: instances, and the patient and study they belong to.

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
    """Whose images these are: an identifier, and who gave it out.

    Across studies, the same patient means that identifier and issuer are both the same: nothing
    says who gave out an identifier without an issuer. Within a study, `only_patient` applies. An
    empty identifier holds one study together and connects it with no other.

    Parameters
    ----------
    identifier, issuer
        Patient ID and Issuer of Patient ID without outer blanks, to compare; never to be logged.
    """

    identifier: str = field(repr=False)
    issuer: str = field(default="", repr=False)

    @property
    def is_named(self) -> bool:
        """Whether other studies can be known to be of this patient."""
        return self.identifier != ""


def only_patient(patients: Iterable[PatientIdentity]) -> PatientIdentity:
    """The one patient that the images of a study belong to.

    An issuer that only some of the images state holds for all of them.

    Raises
    ------
    MixedPatients
        If identifiers or stated issuers differ; without naming them.
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
    """One stored object and what is needed to find, group and check it again.

    Parameters
    ----------
    file_name
        Name within the spool: a hash of the SOP Instance UID, never text from the object.
    sha256
        Hex digest of the dataset's bytes as received, without preamble and file meta.
    source_ae
        Calling AE title of the association that brought it.
    received_at
        UTC, for people to read; nothing is timed by it.
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
        """Whose it is."""
        return PatientIdentity(self.patient_id.strip(), self.issuer_of_patient_id.strip())


class Registration(StrEnum):
    """What became of an instance that was offered to the store."""

    NEW = "new"
    DUPLICATE = "duplicate"
    """Already here with the same content: acknowledged again, nothing changed."""
    CONFLICT = "conflict"
    """Already here with other content: the first copy stays, the second is quarantined."""
    OWN_RESULT = "own result"
    """One of the node's own results coming back: acknowledged, never analysed."""


@dataclass(frozen=True)
class Refusal:
    """An object or association that was not accepted, kept for the administrator.

    Parameters
    ----------
    status
        The C-STORE status that was answered, or 0 where an association was rejected or aborted.
    quarantined_as
        File name within the quarantine folder, or empty when nothing was kept.
    """

    at: datetime
    source_ae: str
    address: str
    sop_instance_uid: str
    study_uid: str
    status: int
    reason: str
    quarantined_as: str = ""
