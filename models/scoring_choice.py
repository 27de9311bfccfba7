"""What a site chooses about its scores: the purpose of the thresholds, and the prevalence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.findings import Lesion, OperatingPoint


@dataclass(frozen=True)
class ScoringChoice:
    """What a site chooses.

    Parameters
    ----------
    points
        Operating point of each lesion; balanced where there is none.
    prevalence
        Share of positions with the lesion among the site's patients, where stated.
    """

    points: Mapping[Lesion, OperatingPoint] = field(default_factory=dict)
    prevalence: Mapping[Lesion, float] = field(default_factory=dict)

    def point(self, lesion: Lesion) -> OperatingPoint:
        """The operating point of a lesion."""
        return self.points.get(lesion, OperatingPoint.BALANCED)


DEFAULT_CHOICE = ScoringChoice()
