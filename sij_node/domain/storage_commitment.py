"""Storage commitment: what was requested for which instances, and what was reported.

Source: DICOM PS3.4 Annex J.3 (Storage Commitment Push Model), PS3.3 C.14 (Failure Reason).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT = 1
"""Action Type ID of N-ACTION."""
ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type IDs of N-EVENT-REPORT."""

PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
FAILURE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        PROCESSING_FAILURE: "processing failure",
        NO_SUCH_INSTANCE: "no such object instance",
        CLASS_CONFLICT: "class or instance conflict",
        0x0122: "SOP class not supported",
        0x0131: "duplicate transaction UID",
        0x0213: "resource limitation",
    }
)

ObjectReference = tuple[str, str]
"""UIDs of SOP class and SOP instance."""


@dataclass(frozen=True)
class CommitmentRequest:
    """A request to commit to storing instances (N-ACTION)."""

    transaction_uid: str
    objects: tuple[ObjectReference, ...]


@dataclass(frozen=True)
class CommitmentReport:
    """What a storage provider has committed to store (N-EVENT-REPORT).

    Parameters
    ----------
    committed
        SOP Instance UIDs.
    failed
        Failure Reason by SOP Instance UID.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, int] = field(default_factory=dict)

    def reasons(self) -> str:
        """The distinct reasons of failures, in words."""
        return ", ".join(sorted({failure_reason(code) for code in self.failed.values()}))


def failure_reason(code: int) -> str:
    """A Failure Reason with its meaning, for display."""
    return f"0x{code:04X} {FAILURE_REASONS.get(code, '')}".strip()
