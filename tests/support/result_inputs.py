"""Inputs of result objects: a context, findings, and label maps in which right and left differ."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.burden_scores import BurdenName, BurdenScore
from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Presence, Side, Sight
from models.findings import Sequence as Kind
from models.regions import REGION_LABELS
from models.volume import Volume
from sij_node.config.profiles import MINIMAL, Profile
from sij_node.dicom.volumes import volume_from
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import AnalysedStudy
from sij_node.results.provenance import AlgorithmIdentity, ResultContext, inputs_digest

MOMENT = datetime(2024, 1, 2, 12, 30, 15, tzinfo=UTC)
NETWORKS = (
    AlgorithmIdentity("contour", "1.4.0", "ab" * 32),
    AlgorithmIdentity("lesion", "2.1.0", "cd" * 32),
)


def context(
    networks: tuple[AlgorithmIdentity, ...] = NETWORKS, profile: Profile = MINIMAL
) -> ResultContext:
    """A result of two networks on one instance."""
    return ResultContext(inputs_digest([("1.2", "00")]), networks, "0.1.0", MOMENT, profile)


def findings() -> list[Finding]:
    """A different probability at every position; the fifth is not evaluable."""
    return [
        Finding(position, None if index == 4 else (index * 37 % 100) / 100, 0.5)
        for index, position in enumerate(POSITIONS)
    ]


def burden() -> tuple[BurdenScore, ...]:
    """All scores of lesion burden, each with another band."""
    return tuple(
        BurdenScore(name, 10 + number, 7, 14 + 2 * number) for number, name in enumerate(BurdenName)
    )


def regions_in_patient(volume: Volume) -> NDArray[np.uint8]:
    """Regions by voxel position: side by x, region by height, in any orientation."""
    at = volume.to_patient(np.stack(np.indices(volume.voxels.shape), axis=-1))
    across, height = at[..., 0] - at[..., 0].mean(), at[..., 2]
    band = ((height - height.min()) / (np.ptp(height) + 1e-6) * 7).astype(int)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    for (side, region), value in REGION_LABELS.items():
        number = list({r: None for _, r in REGION_LABELS}).index(region)
        on_side = across > 1 if side is Side.LEFT else across < -1
        labels[on_side & (band == 1 + number)] = value
    return labels


def joints_in_patient(volume: Volume, vertices: int = 9) -> Delineation:
    """An oblique line on each side of the midline, on every slice but the first and last."""
    slices, rows, columns = volume.voxels.shape
    corners = volume.to_patient(
        [(slices / 2, row, column) for row in (0, rows - 1) for column in (0, columns - 1)]
    )
    (x0, z0), (x1, z1) = corners[:, [0, 2]].min(axis=0), corners[:, [0, 2]].max(axis=0)
    found = []
    for index in range(1, slices - 1):
        plane = volume.to_patient((index, rows / 2, columns / 2))
        for side, part in ((Side.RIGHT, 0.25), (Side.LEFT, 0.75)):
            down = np.linspace(0.8, 0.2, vertices)[:, None]
            across = part + (0.1 if side is Side.RIGHT else -0.1) * (0.5 - down)
            at = np.hstack([x0 + across * (x1 - x0), plane[1] + 0 * down, z0 + down * (z1 - z0)])
            found.append(Contour(index, side, volume.to_indices(at)[:, 1:], 0.9))
    return Delineation(tuple(found))


def sighted(volume: Volume, sequence: Kind) -> list[Finding]:
    """A different position for each positive finding, near the joint of its side."""
    joints = joints_in_patient(volume)
    seen = []
    for number, finding in enumerate(findings()):
        line = joints.of(finding.position.side)[number % len(joints.of(finding.position.side))]
        row, column = line.points[number % len(line.points)]
        sight = Sight(sequence, line.slice_index, float(row), float(column))
        present = finding.presence is Presence.PRESENT
        seen.append(replace(finding, sight=sight if present else None))
    return seen


def analysed(
    images: Sequence[Dataset], sequence: Kind = Kind.T1, vertices: int = 9
) -> AnalysedSeries:
    """A series on which both joints were found."""
    source = volume_from(images)
    return AnalysedSeries(
        sequence,
        source,
        images,
        joints_in_patient(source.volume, vertices),
        regions_in_patient(source.volume),
    )


def analysed_study(t1: Sequence[Dataset], stir: Sequence[Dataset]) -> AnalysedStudy:
    """A study whose findings are located on both series alternately."""
    series = (analysed(t1, Kind.T1), analysed(stir, Kind.STIR))
    seen = [sighted(one.source.volume, one.sequence) for one in series]
    mixed = [seen[number % 2][number] for number in range(len(POSITIONS))]
    return AnalysedStudy(series, mixed, burden=burden())
