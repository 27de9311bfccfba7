"""Results for tests: a context, findings, and label maps in which right and left differ."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from models.findings import POSITIONS, Finding, Side
from models.regions import REGION_LABELS
from models.volume import Volume
from sij_node.dicom.origin import Network, ResultContext, inputs_digest

MOMENT = datetime(2024, 1, 2, 12, 30, 15, tzinfo=UTC)
NETWORKS = (Network("contour", "1.4.0", "ab" * 32), Network("lesion", "2.1.0", "cd" * 32))


def context(networks: tuple[Network, ...] = NETWORKS) -> ResultContext:
    """A result of two networks on one instance."""
    return ResultContext(inputs_digest([("1.2", "00")]), networks, "0.1.0", MOMENT)


def findings() -> list[Finding]:
    """A different probability at every position; the fifth could not be evaluated."""
    return [
        Finding(position, None if index == 4 else (index * 37 % 100) / 100, 0.5)
        for index, position in enumerate(POSITIONS)
    ]


def regions_in_patient(volume: Volume) -> NDArray[np.uint8]:
    """Regions decided by where a voxel lies: side by x, region by height, in any orientation."""
    at = volume.to_patient(np.stack(np.indices(volume.voxels.shape), axis=-1))
    across, height = at[..., 0] - at[..., 0].mean(), at[..., 2]
    band = ((height - height.min()) / (np.ptp(height) + 1e-6) * 7).astype(int)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for (side, region), value in REGION_LABELS.items():
        number = list({r: None for _, r in REGION_LABELS}).index(region)
        on_side = across > 1 if side is Side.LEFT else across < -1
        labels[on_side & (band == 1 + number)] = value
    return labels
