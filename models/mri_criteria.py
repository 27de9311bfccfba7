"""Two published definitions of a positive MRI, applied to where the lesions were found.

Both count slices and quadrants with a lesion. They were written for human readers and are
reported as research aids, never as a diagnosis.

Source: ASAS definition of a positive MRI (Lambert et al., Ann Rheum Dis 2016); Maksymowych et al.,
Ann Rheum Dis 2021 (cut-offs for active and structural lesions, in slice-level quadrants).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from models.findings import Lesion, Position, Region
from models.findings import Sequence as Kind

SlicesSeen = Mapping[Position, frozenset[int]]
"""The slices that show each present lesion, as in `models.analyser.Analysis.slices`: indices into
the sequence given by `counted_on`, so that all slices of a lesion belong to one series."""


def counted_on(lesion: Lesion) -> Kind:
    """The sequence whose slices are counted for a lesion: STIR for oedema, T1 for the others."""
    return Kind.STIR if lesion is Lesion.OEDEMA else Kind.T1


@dataclass(frozen=True)
class Criterion:
    """One published cut-off and the study's count for it.

    Parameters
    ----------
    name
        What is counted.
    source
        Publication.
    found
        The study's count.
    needed
        Smallest count that meets the cut-off.
    """

    name: str
    source: str
    found: int
    needed: int

    @property
    def met(self) -> bool:
        """Whether the cut-off is met."""
        return self.found >= self.needed


ASAS = "ASAS 2016"
MAKSYMOWYCH = "Maksymowych 2021"


def positive_mri(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """ASAS: oedema on two consecutive slices, or at two or more sites on one slice.

    The definition also requires oedema to be highly suggestive of spondyloarthritis; that is left
    to the reader.

    Parameters
    ----------
    slices
        Slices that show each present lesion; absent lesions have no entry.
    """
    return (
        Criterion(
            "oedema at one place on consecutive slices", ASAS, longest(slices, Lesion.OEDEMA), 2
        ),
        Criterion("places with oedema on one slice", ASAS, most_at_once(slices, Lesion.OEDEMA), 2),
    )


def active_lesions(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """Maksymowych: active lesion typical of axial SpA; `slices` as in `positive_mri`."""
    return (
        _quadrants("slice quadrants with oedema", slices, Lesion.OEDEMA, 4),
        _consecutive("oedema at one place on consecutive slices", slices, Lesion.OEDEMA, 3),
    )


def structural_lesions(slices: SlicesSeen) -> tuple[Criterion, ...]:
    """Maksymowych: structural lesion typical of axial SpA; `slices` as in `positive_mri`.

    The cut-off for fatty lesions deeper than 1 cm is not applied: findings carry no depth.
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
    """A published definition: a set of cut-offs, any one of which is sufficient."""

    POSITIVE_MRI = "ASAS 2016 positive MRI"
    ACTIVE = "Maksymowych 2021 active"
    STRUCTURAL = "Maksymowych 2021 structural"


def definitions(slices: SlicesSeen) -> Mapping[Definition, tuple[Criterion, ...]]:
    """The cut-offs of every definition; `slices` as in `positive_mri`."""
    return MappingProxyType(
        {
            Definition.POSITIVE_MRI: positive_mri(slices),
            Definition.ACTIVE: active_lesions(slices),
            Definition.STRUCTURAL: structural_lesions(slices),
        }
    )


def any_met(criteria: Iterable[Criterion]) -> bool:
    """Whether at least one cut-off is met."""
    return any(criterion.met for criterion in criteria)


def _quadrants(name: str, slices: SlicesSeen, lesion: Lesion, needed: int) -> Criterion:
    found = sum(len(seen) for seen in _of(slices, lesion).values())
    return Criterion(name, MAKSYMOWYCH, found, needed)


def _consecutive(name: str, slices: SlicesSeen, lesion: Lesion, needed: int) -> Criterion:
    return Criterion(name, MAKSYMOWYCH, longest(slices, lesion), needed)


def _of(slices: SlicesSeen, lesion: Lesion) -> SlicesSeen:
    """The entries of one lesion's quadrants."""
    return {
        position: seen
        for position, seen in slices.items()
        if position.head.lesion is lesion and position.head.region is not Region.JOINT
    }


def longest(slices: SlicesSeen, lesion: Lesion) -> int:
    """The longest run of consecutive slices on which one quadrant shows a lesion."""
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
    """The largest number of quadrants, of both joints, that show a lesion on one slice."""
    seen = list(_of(slices, lesion).values())
    every = frozenset().union(*seen)
    return max((sum(number in one for one in seen) for number in every), default=0)
