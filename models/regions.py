"""The scored regions: four quadrants of bone next to each joint, and the joint itself.

The quadrants are the bone within 12 mm of the joint: ilium lateral, sacrum medial, divided into
upper and lower at half the visible height of the joint on that slice. Everything is computed in
patient coordinates, so flipped and oblique images need no special handling.

Source: SPARCC and Berlin scoring conventions; the width of 12 mm is ours.
"""

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.contour_tracing import evenly_spaced
from models.delineation import Contour, Delineation
from models.findings import QUADRANTS, Region, Side
from models.volume import Volume

ZONE_MM = 12.0
BAND_MM = 2.0
REGIONS_PER_JOINT = (*QUADRANTS, Region.JOINT)

REGION_LABELS = MappingProxyType(
    {
        (side, region): 1 + number
        for number, (side, region) in enumerate(
            (side, region) for side in Side for region in REGIONS_PER_JOINT
        )
    }
)
"""Label of each region in a label map; 0 is background."""

_POINTS = 64
_ROUNDING_MM = 1e-6
"""Tolerance that puts pixels exactly on a border on the same side in every orientation."""

_Floats = NDArray[np.float64]


def region_label_map(volume: Volume, delineation: Delineation) -> NDArray[np.uint8]:
    """Label map of both joints' regions.

    Parameters
    ----------
    volume
        In any orientation.
    delineation
        Contours in the volume's indices.

    Returns
    -------
    NDArray
        uint8, shape of the volume, values of `REGION_LABELS`; 0 is background.
    """
    labels = np.zeros(volume.voxels.shape, dtype=np.uint8)
    for contour in delineation.contours:
        line = evenly_spaced(contour.points, _POINTS)
        window = _window_around(line, volume)
        image = labels[contour.slice_index][window]
        found = _label_window(volume, contour, line, window)
        image[found > 0] = found[found > 0]
    return labels


def joint_zones(labels: NDArray[np.uint8], side: Side) -> NDArray[np.uint8]:
    """One joint's regions from a label map of both.

    Returns
    -------
    NDArray
        0 is background; 1 to 5 in the order of `REGIONS_PER_JOINT`.
    """
    first = REGION_LABELS[side, REGIONS_PER_JOINT[0]]
    mine = (labels >= first) & (labels < first + len(REGIONS_PER_JOINT))
    return np.where(mine, labels - (first - 1), 0).astype(np.uint8)


def _window_around(line: _Floats, volume: Volume) -> tuple[slice, slice]:
    """Rows and columns within reach of a contour's regions."""
    reach = ZONE_MM / np.array(volume.spacing_mm[1:]) + 1
    low = np.maximum(np.floor(line.min(axis=0) - reach), 0).astype(int)
    high = np.ceil(line.max(axis=0) + reach).astype(int) + 1
    return slice(low[0], max(low[0], high[0])), slice(low[1], max(low[1], high[1]))


def _label_window(
    volume: Volume, contour: Contour, line: _Floats, window: tuple[slice, slice]
) -> NDArray[np.uint8]:
    rows, columns = (
        np.arange(part.start, min(part.stop, size))
        for part, size in zip(window, volume.voxels.shape[1:], strict=True)
    )
    pixels = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float64)
    at = _in_patient(volume, contour.slice_index, pixels.reshape(-1, 2))
    points = _in_patient(volume, contour.slice_index, line)
    distance_mm, nearest = _nearest(at, points)
    lateral = (at[:, 0] - points[nearest, 0]) * (
        1 if contour.side is Side.LEFT else -1
    ) > _ROUNDING_MM
    top, bottom = points[:, 2].max() + _ROUNDING_MM, points[:, 2].min() - _ROUNDING_MM
    upper = at[:, 2] > (top + bottom) / 2 + _ROUNDING_MM
    quadrant = np.select(
        [lateral & upper, lateral, upper],
        [REGION_LABELS[contour.side, region] for region in QUADRANTS[:3]],
        REGION_LABELS[contour.side, QUADRANTS[3]],
    )
    beside = (distance_mm <= ZONE_MM) & (at[:, 2] <= top) & (at[:, 2] >= bottom)
    label = np.where(beside, quadrant, 0)
    label[distance_mm <= BAND_MM] = REGION_LABELS[contour.side, Region.JOINT]
    return label.reshape(pixels.shape[:2]).astype(np.uint8)


def _in_patient(volume: Volume, slice_index: int, points: _Floats) -> _Floats:
    return volume.to_patient(np.insert(points, 0, slice_index, axis=1))


def _nearest(places: _Floats, points: _Floats) -> tuple[_Floats, NDArray[np.intp]]:
    """Distance to the nearest point of a line, and its index, for every position."""
    origin = points.mean(axis=0)
    near, line = (places - origin).astype(np.float32), (points - origin).astype(np.float32)
    squares = (line**2).sum(axis=1) - 2 * near @ line.T
    nearest = squares.argmin(axis=1)
    return np.linalg.norm(places - points[nearest], axis=1), nearest
