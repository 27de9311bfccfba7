"""An analysed series with its contours and regions: the input for all results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.delineation import Contour, Delineation
from models.findings import Finding, Presence, Sight
from models.findings import Sequence as Kind
from sij_node.config.profiles import SeriesKind
from sij_node.dicom.headers import number, text
from sij_node.dicom.volumes import SeriesVolume


@dataclass(frozen=True, eq=False)
class AnalysedSeries:
    """One series that was analysed.

    Parameters
    ----------
    sequence
        T1 or STIR.
    source
        The volume and the images of its slices.
    headers
        Headers of its images, in any order.
    delineation
        Contours in the volume's indices.
    regions
        Label map on the volume's grid, values of `models.regions.REGION_LABELS`.
    """

    sequence: Kind
    source: SeriesVolume
    headers: Sequence[Dataset]
    delineation: Delineation
    regions: NDArray[np.uint8]

    @cached_property
    def _header_of(self) -> Mapping[str, Dataset]:
        return {text(header, "SOPInstanceUID"): header for header in self.headers}

    def header(self, slice_index: int) -> Dataset:
        """Header of the image of a slice."""
        return self._header_of[self.source.sources[slice_index].sop_instance_uid]

    def image_number(self, slice_index: int) -> str:
        """The number that viewers show for a slice: its instance or frame number.

        Frames are numbered through the parts of a concatenation.
        """
        frame, header = self.source.sources[slice_index].frame_number, self.header(slice_index)
        if frame is None:
            return text(header, "InstanceNumber") or "?"
        return str(frame + int(number(header, "ConcatenationFrameOffsetNumber") or 0))

    def kind(self, name: Literal["seg", "findings", "presentation"]) -> SeriesKind:
        """The kind of a result that belongs to this series."""
        kinds: dict[str, SeriesKind] = {kind: kind for kind in get_args(SeriesKind)}
        return kinds[f"{name} {self.sequence.lower()}"]

    @property
    def contours(self) -> list[Contour]:
        """All contours, by slice and side."""
        return sorted(self.delineation.contours, key=lambda one: (one.slice_index, one.side))

    def seen(self, findings: Sequence[Finding]) -> list[tuple[Finding, Sight]]:
        """Positive findings that are best seen on this series, with their sights, in order."""
        return [
            (finding, finding.sight)
            for finding in findings
            if finding.presence is Presence.PRESENT
            and finding.sight is not None
            and finding.sight.sequence is self.sequence
        ]
