"""Who calls, and what one association brings of each study."""

from collections import Counter
from dataclasses import dataclass, field

from sij_node.dicom.dataset_scan import Scan
from sij_node.domain.study import ReceivedInstance


@dataclass(frozen=True)
class CallingPeer:
    """The calling AE title and the address it calls from."""

    ae_title: str
    address: str


@dataclass(frozen=True)
class ReceivedStudy:
    """What one association has brought of a study.

    Parameters
    ----------
    instances
        Number of accepted instances by SOP Class UID.
    """

    study_uid: str
    patient_id: str
    instances: Counter[str] = field(default_factory=Counter)


class AssociationSummary:
    """Counts what one association brings, by study."""

    def __init__(self) -> None:
        self._studies: dict[str, ReceivedStudy] = {}

    def add(self, instance: ReceivedInstance | Scan) -> None:
        """Count an accepted instance."""
        study = self._studies.setdefault(
            instance.study_uid, ReceivedStudy(instance.study_uid, instance.patient_id)
        )
        study.instances[instance.sop_class_uid] += 1

    @property
    def studies(self) -> tuple[ReceivedStudy, ...]:
        """In the order of their first instances."""
        return tuple(self._studies.values())
