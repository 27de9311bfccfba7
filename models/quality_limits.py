"""Limits of image quality beyond which scores are reported with low confidence.

They never change a score: the reasons for low confidence are reported next to it.

Source: recommended protocols for imaging of axial spondyloarthritis (slice thickness 3 to 5 mm, 8
to 13 slices through the joint).
"""

from dataclasses import dataclass
from enum import StrEnum

from models.findings import Sequence as Kind
from models.findings import Side


class LowConfidence(StrEnum):
    """Why scores are reported with low confidence."""

    COARSE_PIXELS = "coarse pixels"
    THICK_SLICES = "thick slices"
    FEW_SLICES = "few slices"
    NOISY = "noisy"
    UNSURE_CONTOURS = "unsure contours"
    UNLIKE_TRAINING = "unlike training"


@dataclass(frozen=True)
class QualityLimits:
    """Limits of image quality.

    Parameters
    ----------
    pixel_mm, slice_mm
        Largest pixel spacing and spacing between slices.
    slices
        Minimum number of slices that show a joint.
    noise
        Maximum standard deviation of noise, as a fraction of the mean intensity of bone.
    certainty
        Minimum mean quality of a joint's contours. Of joints with wrong contours 63 % lie below it,
        of others 4 % (docs/delineation_real.md).
    """

    pixel_mm: float = 1.3
    slice_mm: float = 6.5
    slices: int = 4
    noise: float = 0.25
    certainty: float = 0.6


@dataclass(frozen=True)
class ImageQuality:
    """Image quality of one joint on one sequence.

    Parameters
    ----------
    slices
        Number of slices that show the joint.
    noise
        Fraction of the mean intensity of the joint's regions; 0 without regions.
    certainty
        Mean quality of the joint's contours; 0 without contours.
    strangeness
        Distance of the network's embedding from those of its training cases. 1 is the limit that
        one joint in a hundred of the validation cases exceeds; None if the model card has no
        reference.
    """

    kind: Kind
    side: Side
    pixel_mm: float
    slice_mm: float
    slices: int
    noise: float
    certainty: float
    strangeness: float | None = None

    def low_confidence(self, limits: QualityLimits = QualityLimits()) -> tuple[LowConfidence, ...]:
        """Every limit that is exceeded; none for a joint that is not visible."""
        if not self.slices:
            return ()
        unlike = self.strangeness is not None and self.strangeness > 1
        exceeded = {
            LowConfidence.COARSE_PIXELS: self.pixel_mm > limits.pixel_mm,
            LowConfidence.THICK_SLICES: self.slice_mm > limits.slice_mm,
            LowConfidence.FEW_SLICES: self.slices < limits.slices,
            LowConfidence.NOISY: self.noise > limits.noise,
            LowConfidence.UNSURE_CONTOURS: self.certainty < limits.certainty,
            LowConfidence.UNLIKE_TRAINING: unlike,
        }
        return tuple(reason for reason, applies in exceeded.items() if applies)
