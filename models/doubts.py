"""Whether images are good enough, and like enough to those of training, to trust their scores.

Nothing here changes a score. What it says travels with the scores, so that a reader knows when
to doubt them.

Source: protocol limits from the axial spondyloarthritis imaging recommendations (slices of 3 to
5 mm, 8 to 13 of them through the joint).
"""

from dataclasses import dataclass
from enum import StrEnum

from models.findings import Sequence as Kind
from models.findings import Side


class Doubt(StrEnum):
    """A reason to doubt the scores."""

    COARSE_PIXELS = "coarse pixels"
    THICK_SLICES = "thick slices"
    FEW_SLICES = "few slices"
    NOISY = "noisy"
    UNSURE_CONTOURS = "unsure contours"
    UNLIKE_TRAINING = "unlike training"


@dataclass(frozen=True)
class QualityLimits:
    """From where on images are doubted.

    Parameters
    ----------
    pixel_mm, slice_mm
        Largest distance between pixels and between slices.
    slices
        Fewest slices that show a joint.
    noise
        Highest standard deviation of noise, as a share of the bone's mean intensity.
    certainty
        Lowest mean quality of a joint's contours.
    """

    pixel_mm: float = 1.3
    slice_mm: float = 6.5
    slices: int = 4
    noise: float = 0.25
    certainty: float = 0.5


@dataclass(frozen=True)
class ImageQuality:
    """What was measured on one joint of one sequence.

    Parameters
    ----------
    slices
        That show the joint.
    noise
        As a share of the mean intensity of the joint's regions; 0 where none is seen.
    certainty
        Mean quality of the joint's contours; 0 where none is seen.
    strangeness
        Distance of the network's description to those of its training cases, 1 at the limit
        that one joint in a hundred of the validation cases exceeds; None where the card keeps
        no reference.
    """

    kind: Kind
    side: Side
    pixel_mm: float
    slice_mm: float
    slices: int
    noise: float
    certainty: float
    strangeness: float | None = None

    def doubts(self, limits: QualityLimits = QualityLimits()) -> tuple[Doubt, ...]:
        """Every limit that is exceeded; a joint that is not seen has nothing to doubt."""
        if not self.slices:
            return ()
        exceeded = {
            Doubt.COARSE_PIXELS: self.pixel_mm > limits.pixel_mm,
            Doubt.THICK_SLICES: self.slice_mm > limits.slice_mm,
            Doubt.FEW_SLICES: self.slices < limits.slices,
            Doubt.NOISY: self.noise > limits.noise,
            Doubt.UNSURE_CONTOURS: self.certainty < limits.certainty,
            Doubt.UNLIKE_TRAINING: self.strangeness is not None and self.strangeness > 1,
        }
        return tuple(doubt for doubt, there in exceeded.items() if there)
