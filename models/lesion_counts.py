"""How many positions of a study, and of each joint, show each lesion."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from models.findings import Finding, Lesion, Presence, Side

ACTIVE = (Lesion.OEDEMA,)
STRUCTURAL = (Lesion.EROSION, Lesion.FATTY_LESION, Lesion.SCLEROSIS, Lesion.ANKYLOSIS)


@dataclass(frozen=True)
class Count:
    """Positions of a group: with the lesion, evaluable, and in total."""

    present: int
    evaluable: int
    positions: int

    def __str__(self) -> str:
        """As text, for instance ``3 of 8`` or ``3 of 6 seen (8)``."""
        if self.evaluable == self.positions:
            return f"{self.present} of {self.positions}"
        return f"{self.present} of {self.evaluable} seen ({self.positions})"


def counted(findings: Iterable[Finding]) -> Count:
    """Count the positions of a group of findings."""
    presences = [finding.presence for finding in findings]
    unknown = presences.count(Presence.UNDETERMINED)
    return Count(presences.count(Presence.PRESENT), len(presences) - unknown, len(presences))


@dataclass(frozen=True)
class JointCounts:
    """Lesion counts of one joint.

    Parameters
    ----------
    counts
        By lesion, over the joint's positions.
    """

    side: Side
    counts: Mapping[Lesion, Count]

    @property
    def active(self) -> int:
        """Positions with oedema."""
        return sum(self.counts[lesion].present for lesion in ACTIVE)

    @property
    def structural(self) -> int:
        """Positions with any other lesion."""
        return sum(self.counts[lesion].present for lesion in STRUCTURAL)

    @property
    def seen(self) -> bool:
        """Whether any position of the joint was evaluable."""
        return any(count.evaluable for count in self.counts.values())


@dataclass(frozen=True)
class StudyCounts:
    """Lesion counts of a study.

    Parameters
    ----------
    counts
        By lesion, over both joints.
    joints
        Right, then left.
    """

    counts: Mapping[Lesion, Count]
    joints: tuple[JointCounts, ...]


def study_counts(findings: Sequence[Finding]) -> StudyCounts:
    """Count a study's findings by lesion and by joint.

    Parameters
    ----------
    findings
        All 28 of a study, in any order.
    """
    joints = tuple(
        JointCounts(side, _by_lesion([f for f in findings if f.position.side is side]))
        for side in Side
    )
    return StudyCounts(_by_lesion(findings), joints)


def _by_lesion(findings: Sequence[Finding]) -> Mapping[Lesion, Count]:
    return MappingProxyType(
        {
            lesion: counted(f for f in findings if f.position.head.lesion is lesion)
            for lesion in Lesion
        }
    )
