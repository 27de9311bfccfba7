"""What a study's findings add up to: counts, each joint in a word, and published definitions.

Nothing new is seen here; findings are only counted. Where it is known on which slices and in which
quadrants lesions show, two published definitions of a positive MRI can be applied. They were made
for human readers and stand here as research aids, never as a diagnosis.

Source: ASAS definition of a positive MRI (Lambert et al., Ann Rheum Dis 2016); Maksymowych et al.,
Ann Rheum Dis 2021 (cut-offs for active and structural lesions, in slice-level quadrants).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from models.findings import Finding, Lesion, Position, Presence, Region, Side
from models.findings import Sequence as Kind

ACTIVE = (Lesion.OEDEMA,)
STRUCTURAL = (Lesion.EROSION, Lesion.FATTY_LESION, Lesion.SCLEROSIS, Lesion.ANKYLOSIS)


@dataclass(frozen=True)
class Count:
    """Of some positions: how many show the lesion, were looked at, and exist."""

    present: int
    evaluable: int
    positions: int

    def __str__(self) -> str:
        """As a person reads it, for instance ``3 of 8`` or ``3 of 6 seen (8)``."""
        if self.evaluable == self.positions:
            return f"{self.present} of {self.positions}"
        return f"{self.present} of {self.evaluable} seen ({self.positions})"


def counted(findings: Iterable[Finding]) -> Count:
    """Count some findings."""
    presences = [finding.presence for finding in findings]
    unknown = presences.count(Presence.UNDETERMINED)
    return Count(presences.count(Presence.PRESENT), len(presences) - unknown, len(presences))


@dataclass(frozen=True)
class JointReading:
    """One joint: how often each lesion is present in it.

    Parameters
    ----------
    counts
        Of the joint's positions, by lesion.
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
        """Whether anything of the joint could be evaluated."""
        return any(count.evaluable for count in self.counts.values())


@dataclass(frozen=True)
class StudyReading:
    """A study: each lesion over both joints, and each joint.

    Parameters
    ----------
    counts
        Of both joints together, by lesion.
    joints
        Right, then left.
    """

    counts: Mapping[Lesion, Count]
    joints: tuple[JointReading, ...]


def study_reading(findings: Sequence[Finding]) -> StudyReading:
    """Count a study's findings.

    Parameters
    ----------
    findings
        28, in any order.
    """
    joints = tuple(
        JointReading(side, _by_lesion([f for f in findings if f.position.side is side]))
        for side in Side
    )
    return StudyReading(_by_lesion(findings), joints)


def _by_lesion(findings: Sequence[Finding]) -> Mapping[Lesion, Count]:
    return MappingProxyType(
        {
            lesion: counted(f for f in findings if f.position.head.lesion is lesion)
            for lesion in Lesion
        }
    )


SlicesSeen = Mapping[Position, frozenset[int]]
"""On which slices each present lesion shows, as `models.analyser.Analysis` tells of one sequence:
the one of `counted_on`, so that all slices of a lesion are of one series."""


def counted_on(lesion: Lesion) -> Kind:
    """The sequence on whose slices a lesion is counted: STIR for oedema, T1 for the others."""
    return Kind.STIR if lesion is Lesion.OEDEMA else Kind.T1


@dataclass(frozen=True)
class Criterion:
    """One published cut-off, and how far the study reaches.

    Parameters
    ----------
    name
        The cut-off in words.
    source
        Where it is published.
    found
        The number it is about.
    needed
        From this number on it is met.
    """

    name: str
    source: str
    found: int
    needed: int

    @property
    def met(self) -> bool:
        """Whether the cut-off is reached."""
        return self.found >= self.needed


ASAS = "ASAS 2016"
MAKSYMOWYCH = "Maksymowych 2021"


def positive_mri(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """ASAS: oedema on two consecutive slices, or several places with oedema on one slice.

    Whether oedema is highly suggestive of spondyloarthritis, which the definition also asks,
    is for a person to say.

    Parameters
    ----------
    slices
        On which slices each present lesion shows; lesions that are absent have no entry.
    """
    return (
        Criterion(
            "oedema at one place on consecutive slices", ASAS, longest(slices, Lesion.OEDEMA), 2
        ),
        Criterion("places with oedema on one slice", ASAS, most_at_once(slices, Lesion.OEDEMA), 2),
    )


def active_lesions(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """Maksymowych: an active lesion typical of axial SpA, as for `positive_mri`."""
    return (
        _quadrants("slice quadrants with oedema", slices, Lesion.OEDEMA, 4),
        _consecutive("oedema at one place on consecutive slices", slices, Lesion.OEDEMA, 3),
    )


def structural_lesions(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """Maksymowych: a structural lesion typical of axial SpA, as for `positive_mri`.

    The cut-off for fatty lesions deeper than 1 cm is left out: findings hold no depth.
    """
    return (
        _quadrants("slice quadrants with erosion", slices, Lesion.EROSION, 3),
        _consecutive("erosion at one place on consecutive slices", slices, Lesion.EROSION, 2),
        _quadrants("slice quadrants with fatty lesion", slices, Lesion.FATTY_LESION, 5),
        _consecutive(
            "fatty lesion at one place on consecutive slices", slices, Lesion.FATTY_LESION, 3
        ),
    )


class Definition(StrEnum):
    """A published definition that is a few cut-offs, each of which is enough."""

    POSITIVE_MRI = "ASAS 2016 positive MRI"
    ACTIVE = "Maksymowych 2021 active"
    STRUCTURAL = "Maksymowych 2021 structural"


def definitions(slices: SlicesSeen) -> Mapping[Definition, tuple[Criterion, ...]]:
    """The cut-offs of every definition, as for `positive_mri`."""
    return MappingProxyType(
        {
            Definition.POSITIVE_MRI: positive_mri(slices),
            Definition.ACTIVE: active_lesions(slices),
            Definition.STRUCTURAL: structural_lesions(slices),
        }
    )


def any_met(criteria: Iterable[Criterion]) -> bool:
    """Whether one of several cut-offs is reached: each of them is enough."""
    return any(criterion.met for criterion in criteria)


def _quadrants(name: str, slices: SlicesSeen, lesion: Lesion, needed: int) -> Criterion:
    found = sum(len(seen) for seen in _of(slices, lesion).values())
    return Criterion(name, MAKSYMOWYCH, found, needed)


def _consecutive(name: str, slices: SlicesSeen, lesion: Lesion, needed: int) -> Criterion:
    return Criterion(name, MAKSYMOWYCH, longest(slices, lesion), needed)


def _of(slices: SlicesSeen, lesion: Lesion) -> SlicesSeen:
    """The quadrants of a lesion."""
    return {
        position: seen
        for position, seen in slices.items()
        if position.head.lesion is lesion and position.head.region is not Region.JOINT
    }


def longest(slices: SlicesSeen, lesion: Lesion) -> int:
    """The longest run of neighbouring slices on which one quadrant shows a lesion."""
    return max((_longest_run(seen) for seen in _of(slices, lesion).values()), default=0)


def _longest_run(numbers: frozenset[int]) -> int:
    ends = (number for number in numbers if number + 1 not in numbers)
    return max((_run_up_to(number, numbers) for number in ends), default=0)


def _run_up_to(last: int, numbers: frozenset[int]) -> int:
    first = last
    while first - 1 in numbers:
        first -= 1
    return last - first + 1


def most_at_once(slices: SlicesSeen, lesion: Lesion) -> int:
    """The most quadrants, of both joints, that show a lesion on one slice."""
    seen = list(_of(slices, lesion).values())
    every = frozenset().union(*seen)
    return max((sum(number in one for one in seen) for number in every), default=0)
